"""Finalizers of claims and volumes, put on and taken off; decided by core.storage_protection."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import garbage, pod_facts
from edgeorch.core import storage_protection as protection
from edgeorch.model import kinds

_CLAIMS, _VOLUMES = kinds.PERSISTENT_VOLUME_CLAIM.resource, kinds.PERSISTENT_VOLUME.resource


class ClaimProtection(frame.Controller[index.Key]):
    name: ClassVar[str] = "pvc-protection-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self.wake_on(shared.claims, frame.itself)
        self.wake_on(shared.pods, self._of_pod)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        """A claim is let go of when its last pod has gone."""
        if change.new is None and change.old is not None:
            namespace = change.old.metadata.namespace
            yield from ((namespace, name) for name in change.old.claims)

    async def reconcile(self, key: index.Key) -> float | None:
        claim = self._world.claims.get(key)
        if claim is None:
            return None
        change = None
        if protection.lacks(claim.metadata, protection.OF_CLAIMS):
            change = partial(protection.protected, finalizer=protection.OF_CLAIMS)
        elif protection.claim_may_go(claim, self._world.pods.find(projections.claim_key(*key))):
            change = partial(garbage.without_finalizer, name=protection.OF_CLAIMS)
        if change is not None:
            await frame.ignoring_absence(self._objects.update(_CLAIMS, *key, change))
        return None


class VolumeProtection(frame.Controller[index.Key]):
    name: ClassVar[str] = "pv-protection-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World, root: str) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._root = root
        self.wake_on(shared.volumes, frame.itself)

    async def reconcile(self, key: index.Key) -> float | None:
        volume = self._world.volumes.get(key)
        if volume is None:
            return None
        change = None
        if protection.lacks(volume.metadata, protection.OF_VOLUMES):
            change = partial(protection.protected, finalizer=protection.OF_VOLUMES)
        elif protection.volume_may_go(volume, self._root):
            change = partial(garbage.without_finalizer, name=protection.OF_VOLUMES)
        if change is not None:
            await frame.ignoring_absence(self._objects.update(_VOLUMES, *key, change))
        return None
