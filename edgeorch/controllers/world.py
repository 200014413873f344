"""What all controllers share: the door to the objects, the clocks, and the indexes.

The indexes are made here because several controllers read the same ones; they hold the little
that is needed to find objects and, of pods, what decisions look at. Readiness is timed here: a pod
is ready since the moment it was first seen so, on the clock that no correction moves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import ClassVar

import msgspec

from edgeorch.controllers import index
from edgeorch.core import endpoints, garbage, pod_facts
from edgeorch.lib import clock as clocks
from edgeorch.model import kinds, storage, views, workloads
from edgeorch.store import objects as stores
from edgeorch.store import recorder
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


class World:
    """`run` keeps the indexes up to date; it is supervised like a controller."""

    name: ClassVar[str] = "indexes"

    def __init__(
        self,
        objects: stores.Objects,
        events: recorder.Log,
        clock: clocks.Clock,
        node_name: str,
    ) -> None:
        self.objects = objects
        self.events = events
        self.clock = clock
        self.node_name = node_name
        self._started = False
        self.pods: index.Index[pod_facts.PodFacts] = index.Index(
            objects, kinds.POD.resource, self._pod, _pod_keys
        )
        self.deployments = self._selecting(kinds.DEPLOYMENT)
        self.replica_sets = self._selecting(kinds.REPLICA_SET)
        self.jobs = self._selecting(kinds.JOB)
        self.cron_jobs: index.Index[Owned] = index.Index(
            objects, kinds.CRON_JOB.resource, lambda stored, _: stored.view(Owned)
        )
        self.stateful_sets = self._selecting(kinds.STATEFUL_SET)
        self.daemon_sets = self._selecting(kinds.DAEMON_SET)
        self.budgets = self._selecting(kinds.POD_DISRUPTION_BUDGET)
        self.autoscalers: index.Index[tuple[str, int]] = index.Index(
            objects, kinds.AUTOSCALER.resource, lambda stored, _: _asked(stored)
        )
        self.replication_controllers: index.Index[Selecting] = index.Index(
            objects,
            kinds.REPLICATION_CONTROLLER.resource,
            lambda stored, _: _replication_controller(stored),
            _workload_keys,
        )
        self.revisions: index.Index[Owned] = index.Index(
            objects,
            kinds.CONTROLLER_REVISION.resource,
            lambda stored, _: stored.view(Owned),
            _owned_keys,
        )
        self.services: index.Index[Service] = index.Index(
            objects, kinds.SERVICE.resource, lambda stored, _: stored.view(Service), _service_keys
        )
        self.nodes: index.Index[views.Node] = index.Index(
            objects, kinds.NODE.resource, lambda stored, _: stored.view(views.Node)
        )
        self.namespaces: index.Index[Owned] = index.Index(
            objects, kinds.NAMESPACE.resource, lambda stored, _: stored.view(Owned)
        )
        self.endpoints: index.Index[Owned] = index.Index(
            objects, kinds.ENDPOINTS.resource, lambda stored, _: stored.view(Owned)
        )
        self.slices: index.Index[tuple[str, str, str]] = index.Index(
            objects, kinds.ENDPOINT_SLICE.resource, lambda stored, _: _slice(stored), _same
        )
        self.claims: index.Index[storage.PersistentVolumeClaim] = index.Index(
            objects,
            kinds.PERSISTENT_VOLUME_CLAIM.resource,
            lambda stored, _: stored.view(storage.PersistentVolumeClaim),
        )
        self.volumes: index.Index[storage.PersistentVolume] = index.Index(
            objects,
            kinds.PERSISTENT_VOLUME.resource,
            lambda stored, _: stored.view(storage.PersistentVolume),
        )
        self.storage_classes: index.Index[storage.StorageClass] = index.Index(
            objects,
            kinds.STORAGE_CLASS.resource,
            lambda stored, _: stored.view(storage.StorageClass),
        )
        self.dependents: dict[str, index.Index[garbage.Dependent]] = {
            kind.resource: index.Index(objects, kind.resource, _dependent, _dependent_keys)
            for kind in objects.registry
            if kind is not kinds.EVENT
        }

    def _selecting(self, kind: kinds.Kind) -> index.Index[Selecting]:
        return index.Index(
            self.objects, kind.resource, lambda stored, _: stored.view(Selecting), _workload_keys
        )

    def __iter__(self) -> Iterator[index.Index[object]]:
        yield from (self.pods, self.deployments, self.replica_sets, self.services)  # type: ignore[misc]
        yield from (self.nodes, self.namespaces, self.endpoints, self.slices)  # type: ignore[misc]
        yield from (self.stateful_sets, self.daemon_sets, self.budgets)  # type: ignore[misc]
        yield from (self.replication_controllers, self.revisions)  # type: ignore[misc]
        yield from (self.jobs, self.cron_jobs, self.autoscalers)  # type: ignore[misc]
        yield from (self.claims, self.volumes, self.storage_classes)  # type: ignore[misc]
        yield from self.dependents.values()  # type: ignore[misc]

    def start(self) -> None:
        """Take in everything there is; whoever subscribed is told of it."""
        for each in self:
            each.catch_up()
        self._started = True

    async def run(self) -> None:
        self.start()
        await index.run_all(self)

    def stamp(self) -> str:
        """Wall time for display."""
        return clocks.rfc3339(self.clock.now())

    def _pod(self, stored: Stored, old: pod_facts.PodFacts | None) -> pod_facts.PodFacts:
        facts = stored.view(pod_facts.PodFacts)
        start, transition = facts.status.start_time, facts.ready_transition
        if not start and not facts.ready:
            return facts
        if old is not None and old.metadata.uid != facts.metadata.uid:
            old = None
        started = ready = 0.0
        if start:
            known = old is not None and old.status.start_time == start
            started = old.started_since if old is not None and known else self._since(start)
        if facts.ready:
            known = old is not None and old.ready and old.ready_transition == transition
            ready = old.ready_since if old is not None and known else self._since(transition)
        was_ready = facts.ready or self._was_ready(facts, old)
        return msgspec.structs.replace(
            facts, ready_since=ready, started_since=started, was_ready=was_ready
        )

    def _was_ready(self, facts: pod_facts.PodFacts, old: pod_facts.PodFacts | None) -> bool:
        """Before this process started: when it turned unready long after it was started."""
        if old is not None or self._started or not facts.ready_transition:
            return old is not None and old.was_ready
        if not facts.status.start_time:
            return False
        started = clocks.parse_rfc3339(facts.status.start_time)
        after = clocks.parse_rfc3339(facts.ready_transition) - started
        return after.total_seconds() > pod_facts.FIRST_READINESS

    def _since(self, noted: str) -> float:
        """Now; but what was so before this process started is believed to have been, since boot
        at the earliest."""
        now = self.clock.monotonic()
        if self._started or not noted:
            return now
        ago = self.clock.now() - clocks.parse_rfc3339(noted)
        return now - min(max(ago.total_seconds(), 0.0), now)


def owner_key(uid: str) -> Hashable:
    return "owner", uid


def orphan_key(namespace: str) -> Hashable:
    return "orphans", namespace


WAITING: Hashable = ("waiting",)
"""Pods that are on no node yet."""


BALANCED: Hashable = ("balanced",)
"""Services that wait for addresses of a load balancer."""


def claim_key(namespace: str, claim: str) -> Hashable:
    """Pods that use the claim."""
    return "claim", namespace, claim


def _pod_keys(pod: pod_facts.PodFacts) -> Iterable[Hashable]:
    meta = pod.metadata
    yield owner_key(pod.controller_uid) if pod.controller_uid else orphan_key(meta.namespace)
    yield from index.under_labels(meta.namespace, meta.labels)
    for claim in pod.claims:
        yield claim_key(meta.namespace, claim)
    if not pod.spec.node_name and not pod.terminal:
        yield WAITING


def _asked(stored: Stored) -> tuple[str, int]:
    """Another one, or another spec."""
    meta = stored.view(_Counted).metadata
    return meta.uid, meta.generation


def _owned_keys(found: Owned | Selecting) -> Iterable[Hashable]:
    ref = found.controller
    yield owner_key(ref.uid) if ref is not None else orphan_key(found.metadata.namespace)


def _replication_controller(stored: Stored) -> Selecting:
    """Its selector is a plain map."""
    view = stored.view(workloads.ReplicationController)
    selector = _Selector(match_labels=view.spec.selector)
    return Selecting(metadata=stored.view(Owned).metadata, spec=_SelectingSpec(selector=selector))


def _workload_keys(found: Selecting) -> Iterable[Hashable]:
    meta = found.metadata
    yield from _owned_keys(found)
    yield index.under_selector(meta.namespace, found.spec.selector.match_labels)


def _service_keys(found: Service) -> Iterable[Hashable]:
    if found.spec.selector:
        yield index.under_selector(found.metadata.namespace, found.spec.selector)
    if found.balanced:
        yield BALANCED


def slice_key(namespace: str, service: str, managed_by: str) -> tuple[str, str, str]:
    return namespace, service, managed_by


def _slice(stored: Stored) -> tuple[str, str, str]:
    labels = stored.view(Owned).metadata.labels
    service, managed_by = labels.get(endpoints.SERVICE_NAME, ""), labels.get(endpoints.MANAGED_BY)
    return slice_key(stored.namespace, service, managed_by or "")


def _same(found: tuple[str, str, str]) -> Iterable[Hashable]:
    return (found,)


def _dependent(stored: Stored, _: garbage.Dependent | None) -> garbage.Dependent | None:
    # Most objects have no owner: seen without decoding them.
    if b'"ownerReferences"' not in stored.raw:
        return None
    return garbage.remember(stored.view(views.Anything).metadata)


def _dependent_keys(found: garbage.Dependent) -> Iterable[Hashable]:
    return {ref.uid for ref in found.owners}
