"""Namespaces: the built-in ones exist, and one that is deleted takes its contents along.

Woken by each object that goes, so it never polls. See core.namespaces for what its status says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import namespaces
from edgeorch.model import errors, kinds, views
from edgeorch.store.stored import Stored

_RESOURCE, _EVENTS = kinds.NAMESPACE.resource, kinds.EVENT.resource


class Namespaces(frame.Controller[index.Key]):
    name: ClassVar[str] = "namespace-controller"

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._ending: set[str] = set()
        self.wake_on(shared.namespaces, self._of_namespace)
        for source in shared.dependents.values():
            self.wake_on(source, self._of_content)
        for name in namespaces.BUILT_IN:
            self.wake(("", name))

    def _of_namespace(self, change: index.Change[projections.Owned]) -> Iterable[index.Key]:
        new = change.new
        if change.deleted or (new is not None and new.metadata.deletion_timestamp):
            yield change.key

    def _of_content(self, change: index.Change[Any]) -> Iterable[index.Key]:
        if change.deleted and change.key[0] in self._ending:
            yield "", change.key[0]

    async def reconcile(self, key: index.Key) -> float | None:
        name = key[1]
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            self._ending.discard(name)
            await self._forget_events(name)
            if name in namespaces.BUILT_IN:
                meta = {"name": name}
                made = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
                await self._objects.create(_RESOURCE, made)
            return None
        view = stored.view(views.Namespace)
        if not view.metadata.deletion_timestamp:
            return None
        self._ending.add(name)
        left = await self._empty(name)
        status = namespaces.status(view.status, left, self._world.stamp())
        work = self._objects.update_status(_RESOURCE, *key, lambda obj: {**obj, "status": status})
        await frame.ignoring_absence(work)
        if not left.resources and namespaces.FINALIZER in view.spec.finalizers:
            work = self._objects.update(
                _RESOURCE, *key, namespaces.finalized, subresource="finalize"
            )
            await frame.ignoring_absence(work)
        if left.failures:
            raise errors.internal("; ".join(left.failures))
        return None

    async def _empty(self, name: str) -> namespaces.Left:
        """Delete everything in it; what is left afterwards."""
        failures: list[str] = []
        for kind in self._objects.registry:
            if not kind.namespaced or kind is kinds.EVENT:
                continue
            items = self._objects.list(kind.resource, name).items
            results = await asyncio.gather(*(self._delete(each) for each in items))
            failures.extend(str(error) for error in results if error is not None)
        await self._forget_events(name)
        return self._left(name, failures)

    async def _delete(self, stored: Stored) -> errors.StatusError | None:
        # Being deleted already: asking again would only cost a write.
        if b'"deletionTimestamp"' in stored.raw:
            return None
        options = {"propagationPolicy": "Background"}
        try:
            await self._objects.delete(stored.resource, *stored.key, options)
        except errors.StatusError as error:
            return None if error.code == 404 else error
        return None

    def _left(self, name: str, failures: list[str]) -> namespaces.Left:
        resources: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for kind in self._objects.registry:
            if not kind.namespaced or kind is kinds.EVENT:
                continue
            for stored in self._objects.list(kind.resource, name).items:
                # "pods." is how Kubernetes writes a resource of the core group here.
                resources[f"{kind.plural}.{kind.group}"] += 1
                finalizers.update(stored.view(views.Anything).metadata.finalizers)
        return namespaces.Left(resources, finalizers, tuple(failures))

    async def _forget_events(self, name: str) -> None:
        for stored in self._objects.list(_EVENTS, name).items:
            self._objects.forget(_EVENTS, *stored.key)
