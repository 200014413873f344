"""Pods made, adopted and given up on behalf of a workload, with the events that tell of it.

Every controller that owns pods acts through this, so that all say the same in the same words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import claims, pod_facts
from edgeorch.model import errors, kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_PODS = kinds.POD.resource
_FIRST_BATCH = 8
"""Pods are created in batches that double, so that a device that refuses them is not flooded."""


class PodControl:
    def __init__(self, shared: world.World, events: recorder.Recorder) -> None:
        self._pods = shared.pods
        self._objects = shared.objects
        self._events = events

    def owned(self, uid: str) -> list[pod_facts.PodFacts]:
        return self._pods.find(projections.owner_key(uid))

    async def claim(
        self,
        meta: views.Meta,
        selector: views.LabelSelector,
        obj: Object,
        is_member: Callable[[pod_facts.PodFacts], bool] = lambda _: True,
    ) -> list[pod_facts.PodFacts]:
        """Adopt and release what must be; what the workload owns then.

        `is_member`: whether a pod that nobody owns may be adopted at all.
        """
        orphans = self._pods.find(projections.orphans_of(meta.namespace, selector))
        deleting = meta.deletion_timestamp is not None
        candidates = [*self.owned(meta.uid), *(pod for pod in orphans if is_member(pod))]
        found = claims.claim(meta.uid, selector, deleting, candidates)
        if not found.adopt and not found.release:
            return found.owned
        reference = claims.reference(obj)
        for pod in found.adopt:
            if pod.active:
                await self.change(pod, partial(claims.adopted, ref=reference))
        for pod in found.release:
            await self.change(pod, partial(claims.released, uid=meta.uid))
        return self.owned(meta.uid)

    async def change(self, pod: pod_facts.PodFacts, change: frame.Change) -> None:
        meta = pod.metadata
        work = self._objects.update(_PODS, meta.namespace, meta.name, change)
        await frame.ignoring_absence(work)

    async def create(
        self, owner: Object, count: int, make: Callable[[], Object]
    ) -> errors.StatusError | None:
        """The first error ends it; nothing comes of a namespace that is going away.

        `make` gives a new pod each time: the store takes over what it is given.
        """
        size = _FIRST_BATCH
        while count > 0:
            batch = min(size, count)
            made = (self.create_one(owner, make()) for _ in range(batch))
            for error in await asyncio.gather(*made):
                if error is not None:
                    return None if frame.is_namespace_ending(error) else error
            count, size = count - batch, size * 2
        return None

    async def create_one(self, owner: Object, pod: Object) -> errors.StatusError | None:
        try:
            stored = await self._objects.create(_PODS, pod)
        except errors.StatusError as error:
            if not frame.is_namespace_ending(error):
                message = f"Error creating: {error}"
                self._events.event(owner, recorder.WARNING, "FailedCreate", message)
            return error
        message = f"Created pod: {stored.name}"
        self._events.event(owner, recorder.NORMAL, "SuccessfulCreate", message)
        return None

    async def delete(
        self, owner: Object, pods: Sequence[pod_facts.PodFacts]
    ) -> errors.StatusError | None:
        results = await asyncio.gather(*(self.delete_one(owner, pod) for pod in pods))
        return next((error for error in results if error is not None), None)

    async def delete_one(self, owner: Object, pod: pod_facts.PodFacts) -> errors.StatusError | None:
        meta = pod.metadata
        options = {"preconditions": {"uid": meta.uid}}
        try:
            await self._objects.delete(_PODS, meta.namespace, meta.name, options)
        except errors.StatusError as error:
            if error.code in (404, 409):
                # Gone, or another one by now.
                return None
            self._events.event(owner, recorder.WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        message = f"Deleted pod: {meta.name}"
        self._events.event(owner, recorder.NORMAL, "SuccessfulDelete", message)
        return None


def owners(
    change: index.Change[pod_facts.PodFacts],
    kind: kinds.Kind,
    workloads: index.Index[projections.Selecting],
) -> Iterable[index.Key]:
    """The workloads of `kind` that a change of a pod concerns."""
    for pod in (change.old, change.new):
        if pod is None:
            continue
        ref = next((ref for ref in pod.metadata.owner_references if ref.controller), None)
        if ref is not None:
            if ref.kind == kind.kind:
                yield pod.metadata.namespace, ref.name
        elif pod is change.new:
            # An orphan: whoever might select it looks.
            for key in index.under_labels(pod.metadata.namespace, pod.metadata.labels):
                yield from workloads.keys(key)
