"""ReplicaSet → Pods: keeps as many as wanted, adopts and releases by selector.

The decisions are core.replicas and core.claims. Indexes show this controller its own writes, so a
pod that it has just created or deleted is never missing from, or still in, what it plans on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import claims, pod_facts, replicas
from edgeorch.lib import json
from edgeorch.model import errors, kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE, _PODS = kinds.REPLICA_SET.resource, kinds.POD.resource
_FIRST_BATCH = 8
"""Pods are created in batches that double, so that a device that refuses them is not flooded."""


class ReplicaSets(frame.Controller[index.Key]):
    name: ClassVar[str] = "replicaset-controller"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self.wake_on(shared.replica_sets, frame.itself)
        self.wake_on(shared.pods, self._of_pod)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        for pod in (change.old, change.new):
            if pod is None:
                continue
            ref = next((ref for ref in pod.metadata.owner_references if ref.controller), None)
            if ref is not None:
                if ref.kind == kinds.REPLICA_SET.kind:
                    yield pod.metadata.namespace, ref.name
            elif pod is change.new:
                # An orphan: whoever might select it looks.
                for key in index.under_labels(pod.metadata.namespace, pod.metadata.labels):
                    yield from self._world.replica_sets.keys(key)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view, obj = stored.view(views.ReplicaSet), stored.decode()
        pods = await self._claim(view, obj)
        failure, error = None, None
        if not view.metadata.deletion_timestamp:
            plan = replicas.plan(view.spec.replicas, pods)
            error = await self._create(obj, plan.create) or await self._delete(obj, plan.delete)
            if error is not None:
                reason = "FailedCreate" if plan.create else "FailedDelete"
                failure = replicas.Failure(reason, str(error))
        again = await self._report(key, failure)
        if error is not None:
            raise error
        return again

    def _owned(self, uid: str) -> list[pod_facts.PodFacts]:
        return self._world.pods.find(world.owner_key(uid))

    async def _claim(self, view: views.ReplicaSet, obj: Object) -> list[pod_facts.PodFacts]:
        """Adopt and release what must be; what it owns then."""
        meta = view.metadata
        orphans = self._world.pods.find(world.orphan_key(meta.namespace))
        deleting = meta.deletion_timestamp is not None
        found = claims.claim(
            meta.uid, view.spec.selector, deleting, [*self._owned(meta.uid), *orphans]
        )
        if not found.adopt and not found.release:
            return found.owned
        reference = claims.reference(obj)
        for pod in found.adopt:
            if pod.active:
                await self._change(pod, partial(claims.adopted, ref=reference))
        for pod in found.release:
            await self._change(pod, partial(claims.released, uid=meta.uid))
        return self._owned(meta.uid)

    async def _change(self, pod: pod_facts.PodFacts, change: frame.Change) -> None:
        meta = pod.metadata
        work = self._objects.update(_PODS, meta.namespace, meta.name, change)
        await frame.ignoring_absence(work)

    async def _create(self, obj: Object, count: int) -> errors.StatusError | None:
        """The first error ends it; nothing comes of a namespace that is going away."""
        template = json.encode(obj["spec"]["template"])
        size = _FIRST_BATCH
        while count > 0:
            batch = min(size, count)
            made = (self._create_one(obj, template) for _ in range(batch))
            for error in await asyncio.gather(*made):
                if error is not None:
                    return None if frame.is_namespace_ending(error) else error
            count, size = count - batch, size * 2
        return None

    async def _create_one(self, obj: Object, template: bytes) -> errors.StatusError | None:
        # The store takes over what it is given: each pod has a template of its own.
        pod = replicas.new_pod(obj, json.decode(template), claims.reference(obj))
        try:
            stored = await self._objects.create(_PODS, pod)
        except errors.StatusError as error:
            if not frame.is_namespace_ending(error):
                message = f"Error creating: {error}"
                self._events.event(obj, recorder.WARNING, "FailedCreate", message)
            return error
        message = f"Created pod: {stored.name}"
        self._events.event(obj, recorder.NORMAL, "SuccessfulCreate", message)
        return None

    async def _delete(
        self, obj: Object, pods: Sequence[pod_facts.PodFacts]
    ) -> errors.StatusError | None:
        results = await asyncio.gather(*(self._delete_one(obj, pod) for pod in pods))
        return next((error for error in results if error is not None), None)

    async def _delete_one(self, obj: Object, pod: pod_facts.PodFacts) -> errors.StatusError | None:
        meta = pod.metadata
        options = {"preconditions": {"uid": meta.uid}}
        try:
            await self._objects.delete(_PODS, meta.namespace, meta.name, options)
        except errors.StatusError as error:
            if error.code in (404, 409):
                # Gone, or another one by now.
                return None
            self._events.event(obj, recorder.WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        message = f"Deleted pod: {meta.name}"
        self._events.event(obj, recorder.NORMAL, "SuccessfulDelete", message)
        return None

    async def _report(self, key: index.Key, failure: replicas.Failure | None) -> float | None:
        """Bring the status up to date; the seconds until time alone changes it."""
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view = stored.view(views.ReplicaSet)
        pods = self._owned(view.metadata.uid)
        now = self._world.clock.monotonic()
        status = replicas.status(view, pods, failure, now=now, stamp=self._world.stamp())
        if status != stored.decode().get("status"):
            work = self._objects.update_status(
                _RESOURCE, *key, lambda obj: {**obj, "status": status}
            )
            await frame.ignoring_absence(work)
        return replicas.next_available(pods, now, view.spec.min_ready_seconds)
