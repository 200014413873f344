"""What all controllers share: the door to the objects, the clocks, and the indexes.

The indexes are made here because several controllers read the same ones; they hold the little
that is needed to find objects (`projections`) and, of pods, what decisions look at. Readiness is
timed here: a pod is ready since the moment it was first seen so, on the clock that no correction
moves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import msgspec

from edgeorch.controllers import index, projections
from edgeorch.controllers.projections import Owned, Selecting
from edgeorch.core import garbage, pod_facts
from edgeorch.lib import clock as clocks
from edgeorch.model import kinds, storage, views
from edgeorch.store import objects as stores
from edgeorch.store import recorder
from edgeorch.store.stored import Stored

F = TypeVar("F")
V = TypeVar("V", bound=views.View)


def _no_keys(_: object) -> Iterable[Hashable]:
    return ()


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
        self._all: list[index.Index[Any]] = []
        self.pods = self._kept(kinds.POD, self._pod, projections.pod_keys)
        self.deployments = self._selecting(kinds.DEPLOYMENT)
        self.replica_sets = self._selecting(kinds.REPLICA_SET)
        self.services = self._seen(kinds.SERVICE, projections.Service, projections.service_keys)
        self.nodes = self._seen(kinds.NODE, views.Node)
        self.namespaces = self._seen(kinds.NAMESPACE, Owned)
        self.endpoints = self._seen(kinds.ENDPOINTS, Owned)
        self.slices = self._made(kinds.ENDPOINT_SLICE, projections.slice_place, projections.itself)
        self.stateful_sets = self._selecting(kinds.STATEFUL_SET)
        self.daemon_sets = self._selecting(kinds.DAEMON_SET)
        self.budgets = self._selecting(kinds.POD_DISRUPTION_BUDGET)
        self.replication_controllers = self._made(
            kinds.REPLICATION_CONTROLLER,
            projections.replication_controller,
            projections.workload_keys,
        )
        self.revisions = self._seen(kinds.CONTROLLER_REVISION, Owned, projections.owned_keys)
        self.jobs = self._selecting(kinds.JOB)
        self.cron_jobs = self._seen(kinds.CRON_JOB, Owned)
        self.autoscalers = self._made(kinds.AUTOSCALER, projections.asked)
        self.claims = self._seen(kinds.PERSISTENT_VOLUME_CLAIM, storage.PersistentVolumeClaim)
        self.volumes = self._seen(kinds.PERSISTENT_VOLUME, storage.PersistentVolume)
        self.storage_classes = self._seen(kinds.STORAGE_CLASS, storage.StorageClass)
        self.dependents: dict[str, index.Index[garbage.Dependent]] = {
            kind.resource: self._kept(kind, projections.dependent, projections.dependent_keys)
            for kind in objects.registry
            if kind is not kinds.EVENT
        }

    # --- making indexes -------------------------------------------------------------------------

    def _kept(
        self,
        kind: kinds.Kind,
        project: Callable[[Stored, F | None], F | None],
        keys: Callable[[F], Iterable[Hashable]] = _no_keys,
    ) -> index.Index[F]:
        made = index.Index(self.objects, kind.resource, project, keys)
        self._all.append(made)
        return made

    def _made(
        self,
        kind: kinds.Kind,
        project: Callable[[Stored], F],
        keys: Callable[[F], Iterable[Hashable]] = _no_keys,
    ) -> index.Index[F]:
        """Of what is kept, nothing depends on what was kept before."""
        return self._kept(kind, lambda stored, _: project(stored), keys)

    def _seen(
        self,
        kind: kinds.Kind,
        view: type[V],
        keys: Callable[[V], Iterable[Hashable]] = _no_keys,
    ) -> index.Index[V]:
        return self._kept(kind, lambda stored, _: stored.view(view), keys)

    def _selecting(self, kind: kinds.Kind) -> index.Index[Selecting]:
        return self._seen(kind, Selecting, projections.workload_keys)

    def __iter__(self) -> Iterator[index.Index[Any]]:
        return iter(self._all)

    # --- running --------------------------------------------------------------------------------

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
