"""The store as a view of one resource: its objects in another group's or version's form.

Stands in for `store.Objects` in the handlers of that view, so that they need not know. Converted
when read or watched, never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from edgeorch.lib import json
from edgeorch.model import conversion
from edgeorch.store import objects as store
from edgeorch.store import watch as watches
from edgeorch.store.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeorch.model.kinds import Kind, Object, Registry


class SecondView:
    def __init__(self, objects: store.Objects, kind: Kind) -> None:
        self._objects = objects
        self._kind = kind
        self._of = objects.registry.resource(kind.view_of)

    @property
    def registry(self) -> Registry:
        return self._objects.registry

    @property
    def version(self) -> int:
        return self._objects.version

    def find(self, _: str, namespace: str, name: str) -> Stored | None:
        found = self._objects.find(self._of.resource, namespace, name)
        return self._shown(found) if found else None

    def get(self, _: str, namespace: str, name: str) -> Stored:
        return self._shown(self._objects.get(self._of.resource, namespace, name))

    def list(self, _: str, namespace: str | None = None) -> store.Snapshot:
        found = self._objects.list(self._of.resource, namespace)
        return store.Snapshot([self._shown(stored) for stored in found.items], found.version)

    def watch(self, _: str, since: int | None = None) -> _Watch:
        return _Watch(self._objects.watch(self._of.resource, since), self._event)

    def history(self, _: str, since: int) -> Sequence[watches.Event]:
        return [self._event(event) for event in self._objects.history(self._of.resource, since)]

    async def create(self, _: str, obj: Object, *, dry_run: bool = False) -> Stored:
        made = conversion.stored(self._kind, obj, self._of)
        return self._shown(await self._objects.create(self._of.resource, made, dry_run=dry_run))

    async def update(
        self,
        _: str,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Stored:
        def changed(current: Object) -> Object:
            new = change(conversion.shown(self._kind, current))
            return conversion.stored(self._kind, new, self._of)

        written = await self._objects.update(
            self._of.resource, namespace, name, changed, subresource=subresource, dry_run=dry_run
        )
        return self._shown(written)

    async def delete(
        self,
        _: str,
        namespace: str,
        name: str,
        options: Object | None = None,
        *,
        dry_run: bool = False,
    ) -> store.Deletion:
        gone = await self._objects.delete(
            self._of.resource, namespace, name, options, dry_run=dry_run
        )
        return store.Deletion(self._shown(gone.stored), gone.gone)

    def _shown(self, stored: Stored) -> Stored:
        raw = json.encode(conversion.shown(self._kind, stored.decode()))
        return Stored(self._kind.resource, stored.namespace, stored.name, stored.version, raw)

    def _event(self, event: watches.Event) -> watches.Event:
        previous = self._shown(event.previous) if event.previous else None
        return watches.Event(event.type, self._shown(event.stored), previous)


class _Watch:
    """A cursor of the store whose events are converted as they are taken."""

    def __init__(
        self, watch: watches.Watch, convert: Callable[[watches.Event], watches.Event]
    ) -> None:
        self._watch = watch
        self._convert = convert

    async def __aenter__(self) -> Self:
        await self._watch.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watch.__aexit__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[watches.Event]:
        return [self._convert(event) for event in await self._watch.__anext__()]

    def take(self) -> list[watches.Event]:
        return [self._convert(event) for event in self._watch.take()]
