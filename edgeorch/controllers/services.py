"""What the two endpoint controllers share: which Services a change concerns, and their pods.

A pod is looked at again only when something changed that endpoints show, and then at once: an
unready pod must leave the endpoints before the next connection comes.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.controllers import index, world
from edgeorch.core import pod_facts


def of_pod(shared: world.World, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
    """The Services whose endpoints the change may alter."""
    old, new = change.old, change.new
    if old is not None and new is not None and _shown(old) == _shown(new):
        return
    for pod in (old, new):
        if pod is None:
            continue
        labels = pod.metadata.labels
        for key in index.under_labels(pod.metadata.namespace, labels):
            for service in shared.services.find(key):
                if service.selects(labels):
                    yield service.metadata.namespace, service.metadata.name


def _shown(pod: pod_facts.PodFacts) -> tuple[object, ...]:
    spec = pod.spec
    told = (pod.addresses, pod.ready, pod.terminating, pod.terminal, pod.metadata.labels)
    return (*told, pod.metadata.uid, spec.node_name, spec.hostname, spec.subdomain)


def pods_behind(
    shared: world.World, namespace: str, selector: dict[str, str]
) -> list[pod_facts.PodFacts]:
    """The pods that the selector chooses, found by one of its labels."""
    key = index.under_selector(namespace, selector)
    found = shared.pods.find(key)
    return [pod for pod in found if selector.items() <= pod.metadata.labels.items()]
