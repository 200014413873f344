"""What a new Pod gets from its RuntimeClass, and which handlers there are.

As Kubernetes' RuntimeClass admission plugin (KEP-585, KEP-688): the class must be there, its
overhead becomes the pod's, its node selector and tolerations join the pod's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeorch.lib import quantity
from edgeorch.model import errors, runtime_classes
from edgeorch.model.kinds import Object

HANDLERS = frozenset({"runc"})
"""What containerd's own configuration calls its default, which runs every pod here."""


def name_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("runtimeClassName") or "")


def complete(pod: Object, found: runtime_classes.RuntimeClass | None) -> None:
    """Give `pod` what its class says, in place. Raises StatusError where they do not go together.

    `found` is None where the pod names no class, or one that is not there.
    """
    spec, name = pod["spec"], name_of(pod)
    if name and found is None:
        raise _forbidden(pod, f'pod rejected: RuntimeClass "{name}" not found')
    fixed = dict(found.overhead.pod_fixed) if found is not None and found.overhead else {}
    own = spec.get("overhead") or {}
    if own and not fixed:
        why = "Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise _forbidden(pod, f"pod rejected: {why}")
    if own and not _same(own, fixed):
        why = "Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise _forbidden(pod, f"pod rejected: {why}")
    if fixed:
        spec["overhead"] = fixed
    if found is not None and found.scheduling is not None:
        _schedule(pod, found.scheduling)


def refusal(name: str, found: runtime_classes.RuntimeClass | None) -> str:
    """Why no sandbox can be made for a pod of the class `name`; "" where one can."""
    if not name:
        return ""
    if found is None:
        return f'runtimeclass.node.k8s.io "{name}" not found'
    if found.handler not in HANDLERS:
        return f'failed to get sandbox runtime: no runtime for "{found.handler}" is configured'
    return ""


def _schedule(pod: Object, wanted: runtime_classes.Scheduling) -> None:
    spec = pod["spec"]
    own = spec.get("nodeSelector") or {}
    for key, value in wanted.node_selector.items():
        if own.get(key, value) != value:
            raise _forbidden(
                pod,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {own[key]}",
            )
    if wanted.node_selector:
        spec["nodeSelector"] = {**own, **wanted.node_selector}
    tolerations = spec.get("tolerations") or []
    more = [each for each in wanted.tolerations if each not in tolerations]
    if more:
        spec["tolerations"] = [*tolerations, *more]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        quantity.parse(str(one[name])) == quantity.parse(str(other[name])) for name in one
    )


def _forbidden(pod: Object, why: str) -> errors.StatusError:
    meta = pod.get("metadata") or {}
    return errors.forbidden("pods", meta.get("generateName") or meta.get("name", ""), why)
