"""ReplicaSet → Pods, ReplicationController → Pods: as many as wanted, adopted by selector.

The decisions are core.replicas and core.claims. Indexes show these controllers their own writes, so
a pod that one has just created or deleted is never missing from, or still in, what it plans on.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, pod_control, projections, world
from edgeorch.core import claims, pod_facts, replicas
from edgeorch.lib import json
from edgeorch.model import errors, kinds, views, workloads
from edgeorch.model.kinds import Object
from edgeorch.store.stored import Stored


class Replicas(frame.Controller[index.Key]):
    """Keeps the pods of one kind of workload as many as it says."""

    kind: ClassVar[kinds.Kind]
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World, known: index.Index[projections.Selecting]) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._pods = pod_control.PodControl(shared, shared.events.recorder(self.name))
        self._known = known
        self.wake_on(known, frame.itself)
        self.wake_on(shared.pods, self._of_pod)

    @abc.abstractmethod
    def view(self, stored: Stored) -> views.ReplicaSet: ...

    @abc.abstractmethod
    def status(self, found: Object) -> Object:
        """A ReplicaSet's status as this kind's."""

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        return pod_control.owners(change, self.kind, self._known)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(self.kind.resource, *key)
        if stored is None:
            return None
        view, obj = self.view(stored), stored.decode()
        pods = await self._pods.claim(view.metadata, view.spec.selector, obj)
        failure, error = None, None
        if not view.metadata.deletion_timestamp:
            plan = replicas.plan(view.spec.replicas, pods)
            error = await self._create(obj, plan.create)
            error = error or await self._pods.delete(obj, plan.delete)
            if error is not None:
                reason = "FailedCreate" if plan.create else "FailedDelete"
                failure = replicas.Failure(reason, str(error))
        again = await self._report(key, failure)
        if error is not None:
            raise error
        return again

    async def _create(self, obj: Object, count: int) -> errors.StatusError | None:
        template = json.encode(obj["spec"]["template"])
        reference = claims.reference(obj)
        return await self._pods.create(
            obj, count, lambda: replicas.new_pod(obj, json.decode(template), reference)
        )

    async def _report(self, key: index.Key, failure: replicas.Failure | None) -> float | None:
        """Bring the status up to date; the seconds until time alone changes it."""
        stored = self._objects.find(self.kind.resource, *key)
        if stored is None:
            return None
        view = self.view(stored)
        pods = self._pods.owned(view.metadata.uid)
        now = self._world.clock.monotonic()
        status = replicas.status(view, pods, failure, now=now, stamp=self._world.stamp())
        status = self.status(status)
        if status != stored.decode().get("status"):
            change = partial(_with_status, status=status)
            work = self._objects.update_status(self.kind.resource, *key, change)
            await frame.ignoring_absence(work)
        return replicas.next_available(pods, now, view.spec.min_ready_seconds)


class ReplicaSets(Replicas):
    name: ClassVar[str] = "replicaset-controller"
    kind: ClassVar[kinds.Kind] = kinds.REPLICA_SET

    def __init__(self, shared: world.World) -> None:
        super().__init__(shared, shared.replica_sets)

    def view(self, stored: Stored) -> views.ReplicaSet:
        return stored.view(views.ReplicaSet)

    def status(self, found: Object) -> Object:
        return found


class ReplicationControllers(Replicas):
    name: ClassVar[str] = "replication-controller"
    kind: ClassVar[kinds.Kind] = kinds.REPLICATION_CONTROLLER

    def __init__(self, shared: world.World) -> None:
        super().__init__(shared, shared.replication_controllers)

    def view(self, stored: Stored) -> views.ReplicaSet:
        return stored.view(workloads.ReplicationController).as_replica_set()

    def status(self, found: Object) -> Object:
        return {name: value for name, value in found.items() if name != "terminatingReplicas"}


def _with_status(obj: Object, status: Object) -> Object:
    return {**obj, "status": status}
