"""Removes pods that nobody looks at any more. The decision is core.pod_gc."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import pod_facts, pod_gc
from edgeorch.model import kinds

log = logging.getLogger(__name__)

_PODS = kinds.POD.resource
_ALL = "all"


class PodGc(frame.Controller[str]):
    name: ClassVar[str] = "pod-garbage-collector"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World, threshold: int) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._threshold = threshold
        self._missing: dict[str, float] = {}
        """When an orphan was first seen as one, by uid."""
        self.wake_on(shared.pods, self._of_pod)
        self.wake_on(shared.nodes, lambda _: (_ALL,))

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[str]:
        new, old = change.new, change.old
        if new is None:
            return
        over = new.terminal and (old is None or not old.terminal)
        if over or new.spec.node_name not in ("", self._world.node_name):
            yield _ALL

    async def reconcile(self, key: str) -> float | None:
        pods = list(self._world.pods.all())
        for pod in pod_gc.surplus(pods, self._threshold):
            log.info("Removing %s/%s: it is over", pod.metadata.namespace, pod.metadata.name)
            await self._remove(pod)
        return await self._end_orphans(pods)

    async def _end_orphans(self, pods: list[pod_facts.PodFacts]) -> float | None:
        """The seconds after which to look again, if there are any."""
        now = self._world.clock.monotonic()
        nodes = {stored.name for stored in self._objects.list(kinds.NODE.resource).items}
        nodes.add(self._world.node_name)
        orphans = [pod for pod in pods if pod_gc.orphaned(pod, nodes)]
        before, self._missing = self._missing, {}
        soonest = None
        for pod in orphans:
            since = before.get(pod.metadata.uid, now)
            left = since + pod_gc.QUARANTINE - now
            if left > 0:
                self._missing[pod.metadata.uid] = since
                soonest = left if soonest is None else min(soonest, left)
                continue
            meta = pod.metadata
            log.info("Removing %s/%s: its node is no longer", meta.namespace, meta.name)
            change = partial(pod_gc.failed, stamp=self._world.stamp())
            await frame.ignoring_absence(
                self._objects.update_status(_PODS, meta.namespace, meta.name, change)
            )
            await self._remove(pod)
        return soonest

    async def _remove(self, pod: pod_facts.PodFacts) -> None:
        meta = pod.metadata
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}}
        work = self._objects.delete(_PODS, meta.namespace, meta.name, options)
        await frame.ignoring_absence(work)
