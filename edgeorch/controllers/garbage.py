"""Owner references: dependents go when their owners have gone.

The decision is core.garbage; this finds owners and dependents, of every kind. An object is looked
at when it appears with owners, when its owners change, when one of them goes, and when a dependent
of one that waits for its dependents changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import garbage
from edgeorch.model import bundles, errors, views
from edgeorch.store.stored import Stored

Key = tuple[str, str, str]
"""Resource, namespace, name."""
_MARKS = (b'"' + garbage.ORPHAN.encode() + b'"', b'"' + garbage.FOREGROUND.encode() + b'"')


class Garbage(frame.Controller[Key]):
    name: ClassVar[str] = "garbage-collector"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._registry = shared.objects.registry
        for resource, source in shared.dependents.items():
            self.wake_on(source, partial(self._of_change, resource))

    # --- waking ---------------------------------------------------------------------------------

    def _of_change(self, resource: str, change: index.Change[garbage.Dependent]) -> Iterable[Key]:
        key = (resource, *change.key)
        old, new = change.old, change.new
        if change.deleted:
            yield from self._left_by(change.stored)
        elif new is not None and (old is None or old != new):
            yield key
        if change.stored is not None and not change.deleted and _waits(change.stored):
            yield key
        if old is not None and old != new:
            for ref in old.owners:
                yield from self._owner_keys(ref, change.key[0])

    def _left_by(self, stored: Stored | None) -> Iterable[Key]:
        """The dependents of what has gone; all there are, when nobody saw what went."""
        if stored is not None:
            yield from self._dependent_keys(stored.view(views.Anything).metadata.uid)
            return
        for resource, source in self._world.dependents.items():
            for each in source.all():
                yield from ((resource, *key) for ref in each.owners for key in source.keys(ref.uid))

    def _dependent_keys(self, uid: str) -> list[Key]:
        found = self._world.dependents.items()
        return [(resource, *key) for resource, source in found for key in source.keys(uid)]

    def _dependents(self, uid: str) -> list[garbage.Dependent]:
        return [each for source in self._world.dependents.values() for each in source.find(uid)]

    def _owner_keys(self, ref: views.OwnerReference, namespace: str) -> Iterable[Key]:
        kind = self._registry.of(ref.api_version, ref.kind)
        if kind is not None:
            yield kind.resource, namespace if kind.namespaced else "", ref.name

    # --- acting ---------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        stored = self._objects.find(*key)
        if stored is None:
            return None
        meta = stored.view(views.Anything).metadata
        if meta.deletion_timestamp and bundles.FINALIZER in meta.finalizers:
            return None  # whether its objects are orphaned is its own controller's to read first
        owner = partial(self._state, meta.namespace)
        for action in garbage.plan(meta, owner, self._dependents(meta.uid)):
            await frame.ignoring_absence(self._carry_out(key, meta, action))
        return None

    def _state(self, namespace: str, ref: views.OwnerReference) -> garbage.Owner:
        kind = self._registry.of(ref.api_version, ref.kind)
        if kind is None or (kind.namespaced and not namespace):
            # Not known to be gone: better kept than deleted by mistake.
            return garbage.Owner.SOLID
        where = namespace if kind.namespaced else ""
        stored = self._objects.find(kind.resource, where, ref.name)
        found = stored.view(views.Anything).metadata if stored is not None else None
        return garbage.state(found, ref.uid)

    async def _carry_out(self, key: Key, meta: views.Meta, action: garbage.Action) -> None:
        match action:
            case garbage.Delete():
                options = {
                    "preconditions": {"uid": meta.uid},
                    "propagationPolicy": action.policy,
                }
                await self._delete(key, options)
            case garbage.DropOwners():
                change = partial(garbage.without_owners, uids=action.uids)
                await self._objects.update(*key, change)
            case garbage.OrphanDependents():
                change = partial(garbage.without_owners, uids=frozenset((meta.uid,)))
                for each in self._dependent_keys(meta.uid):
                    await frame.ignoring_absence(self._objects.update(*each, change))
            case garbage.RemoveFinalizer():
                change = partial(garbage.without_finalizer, name=action.name)
                await self._objects.update(*key, change)
            case garbage.Unblock():
                await self._objects.update(*key, garbage.unblocking)
            case garbage.DeleteDependents():
                for each in self._dependent_keys(meta.uid):
                    self.wake(each)

    async def _delete(self, key: Key, options: dict[str, Any]) -> None:
        try:
            await self._objects.delete(*key, options)
        except errors.StatusError as error:
            # Another object by that name by now.
            if error.code != 409:
                raise


def _waits(stored: Stored) -> bool:
    """A deletion that is this controller's turn, seen without decoding."""
    raw = stored.raw
    return b'"deletionTimestamp"' in raw and any(mark in raw for mark in _MARKS)
