"""What the controllers keep of each kind of object, and under which keys they find it again.

Views as narrow as can be: an index holds one for every object there is. A key is anything that can
be looked up (an owner's uid, a label that is selected by, a state); who looks makes it with the
same function.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import msgspec

from edgeorch.controllers import index
from edgeorch.core import endpoints, garbage, pod_facts
from edgeorch.model import views, workloads
from edgeorch.store.stored import Stored


class Owned(views.View, frozen=True, kw_only=True):
    """An object that has a controller, or looks for one."""

    metadata: pod_facts.Meta

    @property
    def controller(self) -> views.OwnerReference | None:
        refs = self.metadata.owner_references
        return next((ref for ref in refs if ref.controller), None)


class _Counted(views.View, frozen=True, kw_only=True):
    metadata: views.Meta


class _Selector(views.View, frozen=True, kw_only=True):
    match_labels: dict[str, str] = msgspec.field(default_factory=dict)


class _SelectingSpec(views.View, frozen=True, kw_only=True):
    selector: _Selector = _Selector()


class Selecting(views.View, frozen=True, kw_only=True):
    """A workload, as far as it says which objects might be its own."""

    metadata: pod_facts.Meta
    spec: _SelectingSpec = _SelectingSpec()

    @property
    def controller(self) -> views.OwnerReference | None:
        refs = self.metadata.owner_references
        return next((ref for ref in refs if ref.controller), None)


class _ServiceSpec(views.View, frozen=True, kw_only=True):
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    type: str = ""
    load_balancer_class: str = ""


class Service(views.View, frozen=True, kw_only=True):
    """A Service, as far as it says which pods are behind it."""

    metadata: pod_facts.Meta
    spec: _ServiceSpec = _ServiceSpec()

    @property
    def balanced(self) -> bool:
        """It is ours to give it addresses."""
        return self.spec.type == "LoadBalancer" and not self.spec.load_balancer_class

    def selects(self, labels: dict[str, str]) -> bool:
        return bool(self.spec.selector) and self.spec.selector.items() <= labels.items()


def owner_key(uid: str) -> Hashable:
    return "owner", uid


def orphans_of(namespace: str, selector: views.LabelSelector) -> Hashable:
    """What nobody owns and the selector might select: nobody else's orphans are looked at."""
    return "orphans", namespace, min(selector.match_labels.items(), default=None)


def _as_orphan(namespace: str, labels: Mapping[str, str]) -> Iterable[Hashable]:
    yield "orphans", namespace, None
    for pair in labels.items():
        yield "orphans", namespace, pair


WAITING: Hashable = ("waiting",)
"""Pods that are on no node yet."""


PARTICULAR: Hashable = ("particular",)
"""Pods that say who may be beside them."""


BALANCED: Hashable = ("balanced",)
"""Services that wait for addresses of a load balancer."""


def claim_key(namespace: str, claim: str) -> Hashable:
    """Pods that use the claim."""
    return "claim", namespace, claim


def pod_keys(pod: pod_facts.PodFacts) -> Iterable[Hashable]:
    meta = pod.metadata
    if pod.controller_uid:
        yield owner_key(pod.controller_uid)
    else:
        yield from _as_orphan(meta.namespace, meta.labels)
    yield from index.under_labels(meta.namespace, meta.labels)
    for claim in pod.claims:
        yield claim_key(meta.namespace, claim)
    if pod.spec.affinity is not None:
        yield PARTICULAR
    if not pod.spec.node_name and not pod.terminal:
        yield WAITING


def asked(stored: Stored) -> tuple[str, int]:
    """Another one, or another spec."""
    meta = stored.view(_Counted).metadata
    return meta.uid, meta.generation


def owned_keys(found: Owned | Selecting) -> Iterable[Hashable]:
    ref, meta = found.controller, found.metadata
    if ref is not None:
        yield owner_key(ref.uid)
    else:
        yield from _as_orphan(meta.namespace, meta.labels)


def replication_controller(stored: Stored) -> Selecting:
    """Its selector is a plain map."""
    view = stored.view(workloads.ReplicationController)
    selector = _Selector(match_labels=view.spec.selector)
    return Selecting(metadata=stored.view(Owned).metadata, spec=_SelectingSpec(selector=selector))


def workload_keys(found: Selecting) -> Iterable[Hashable]:
    meta = found.metadata
    yield from owned_keys(found)
    yield index.under_selector(meta.namespace, found.spec.selector.match_labels)


def service_keys(found: Service) -> Iterable[Hashable]:
    if found.spec.selector:
        yield index.under_selector(found.metadata.namespace, found.spec.selector)
    if found.balanced:
        yield BALANCED


def slice_key(namespace: str, service: str, managed_by: str) -> tuple[str, str, str]:
    return namespace, service, managed_by


def slice_place(stored: Stored) -> tuple[str, str, str]:
    labels = stored.view(Owned).metadata.labels
    service, managed_by = labels.get(endpoints.SERVICE_NAME, ""), labels.get(endpoints.MANAGED_BY)
    return slice_key(stored.namespace, service, managed_by or "")


def itself(found: tuple[str, str, str]) -> Iterable[Hashable]:
    return (found,)


def dependent(stored: Stored, _: garbage.Dependent | None) -> garbage.Dependent | None:
    # Most objects have no owner: seen without decoding them.
    if b'"ownerReferences"' not in stored.raw:
        return None
    return garbage.remember(stored.view(views.Anything).metadata)


def dependent_keys(found: garbage.Dependent) -> Iterable[Hashable]:
    return {ref.uid for ref in found.owners}
