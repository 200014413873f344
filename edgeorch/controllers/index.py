"""What the controllers know of the objects: indexes kept up to date change by change.

One `Index` for each resource, shared by all loops. It holds, for each object, what a projection
keeps of it (decoded once for each version), and finds objects by keys of its own (owner uid,
namespace, a label), so that a change costs the same with ten objects as with a thousand. Reading
takes in what has been published up to that moment: a loop sees its own writes, never acts on what
it has just changed. Those who subscribe are told of each change, at once and in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from edgeorch.lib import json
from edgeorch.store import watch

if TYPE_CHECKING:
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

log = logging.getLogger(__name__)

F = TypeVar("F")
Key = tuple[str, str]
"""Namespace and name."""


class Change(Struct, Generic[F], frozen=True):
    """`new` None: it is gone, or nothing is kept of it. `stored` None: gone while nobody saw."""

    key: Key
    old: F | None
    new: F | None
    stored: Stored | None
    deleted: bool


class Index(Generic[F]):
    def __init__(
        self,
        objects: Objects,
        resource: str,
        project: Callable[[Stored, F | None], F | None],
        keys: Callable[[F], Iterable[Hashable]] = lambda _: (),
    ) -> None:
        """`project(stored, what was kept before)`; `keys`: under what else to find it."""
        self.resource = resource
        self._objects = objects
        self._project = project
        self._keys = keys
        self._watch: watch.Watch | None = None
        self._held: dict[Key, F] = {}
        self._known: set[Key] = set()
        self._by: dict[Hashable, set[Key]] = {}
        self._applying = False
        self._subscribers: list[Callable[[Change[F]], None]] = []

    def subscribe(self, told: Callable[[Change[F]], None]) -> None:
        self._subscribers.append(told)

    def get(self, key: Key) -> F | None:
        self.catch_up()
        return self._held.get(key)

    def find(self, key: Hashable) -> list[F]:
        """All that were put under `key`, by namespace and name."""
        self.catch_up()
        return [self._held[each] for each in sorted(self._by.get(key, ()))]

    def keys(self, key: Hashable) -> list[Key]:
        self.catch_up()
        return sorted(self._by.get(key, ()))

    def all(self) -> Iterable[F]:
        self.catch_up()
        return self._held.values()

    async def run(self) -> None:
        """Take changes in as they come, for ever."""
        while True:
            try:
                async with self.catch_up() as news:
                    async for batch in news:
                        self._apply(batch)
            except watch.Expired:
                log.info("%s: the watch fell behind; listing again", self.resource)
                self._watch = None

    def catch_up(self) -> watch.Watch:
        """Take in what has been published."""
        if self._watch is None:
            return self._relist()
        # Those who are told of a change may look at this very index: they see it as far as it is.
        if self._applying:
            return self._watch
        try:
            events = self._watch.take()
        except watch.Expired:
            return self._relist()
        self._apply(events)
        return self._watch

    def _relist(self) -> watch.Watch:
        """Compare everything with what is known, and tell the difference."""
        listed = self._objects.list(self.resource)
        self._watch = found = self._objects.watch(self.resource)
        present = {stored.key for stored in listed.items}
        gone = [(key, None) for key in sorted(self._known - present)]
        self._tell([*gone, *((stored.key, stored) for stored in listed.items)])
        return found

    def _apply(self, events: list[watch.Event]) -> None:
        self._tell([(event.stored.key, event) for event in events])

    def _tell(self, news: list[tuple[Key, Stored | watch.Event | None]]) -> None:
        self._applying = True
        try:
            for key, each in news:
                if isinstance(each, watch.Event):
                    self._put(key, each.stored, deleted=each.type == watch.DELETED)
                else:
                    self._put(key, each, deleted=each is None)
        finally:
            self._applying = False

    def _put(self, key: Key, stored: Stored | None, *, deleted: bool) -> None:
        old = self._held.pop(key, None)
        if old is not None:
            for each in self._keys(old):
                self._forget(each, key)
        new = None if deleted or stored is None else self._kept(stored, old)
        if new is not None:
            self._held[key] = new
            for each in self._keys(new):
                self._by.setdefault(each, set()).add(key)
        if deleted:
            self._known.discard(key)
        else:
            self._known.add(key)
        change = Change(key, old, new, stored, deleted)
        for told in self._subscribers:
            told(change)

    def _kept(self, stored: Stored, old: F | None) -> F | None:
        try:
            return self._project(stored, old)
        except json.ValidationError as error:
            # One misfit must not blind the controllers to all others.
            log.error("cannot read %s %s/%s: %s", self.resource, *stored.key, error)
            return None

    def _forget(self, each: Hashable, key: Key) -> None:
        under = self._by[each]
        under.discard(key)
        if not under:
            del self._by[each]


async def run_all(indexes: Iterable[Index[Any]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in indexes:
            tasks.create_task(each.run(), name=f"index {each.resource}")


# How objects are found by labels without looking at all of them: what has labels is put under each
# of them, what selects is put under one label that it wants.


def under_labels(namespace: str, labels: Mapping[str, str]) -> Iterable[Hashable]:
    yield namespace, None
    for pair in labels.items():
        yield namespace, pair


def under_selector(namespace: str, wanted: Mapping[str, str]) -> Hashable:
    """One label that everything selected has; without any, all of the namespace."""
    return namespace, min(wanted.items(), default=None)
