"""Changes as they happen: one bounded ring for each resource, all of them bounded together, read
by cursors.

A watcher holds a position, not a queue: a slow one costs no memory, and once the ring has moved
past it, it is told so (`Expired`) and lists again. Nobody polls: publishing wakes the watchers of
that resource.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from itertools import islice
from typing import TYPE_CHECKING, Self

from msgspec import Struct

if TYPE_CHECKING:
    from edgeorch.store.stored import Stored

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

_MAX_EVENTS = 1024
_MAX_BYTES = 512 * 1024
MAX_TOTAL = 1024 * 1024
"""Bytes of the objects in all rings."""
KEPT_STEPS = 5
"""Minutes, as Kubernetes keeps history (kube-apiserver's --etcd-compaction-interval)."""


class Expired(Exception):
    """The history asked for is gone: list again and watch from there."""


class Event(Struct, frozen=True):
    """One change. `stored` is the object after it (for DELETED: its last state, new version)."""

    type: str
    stored: Stored
    previous: Stored | None


class Ring:
    """The latest changes of one resource."""

    def __init__(self, floor: int) -> None:
        self._events: deque[Event] = deque()
        self.bytes = 0
        self._dropped = 0
        """How many events have left; the position of the first one still here."""
        self._floor = floor
        """Version up to which history is gone."""
        self.version = floor
        """That of the latest change."""
        self._watches: set[Watch] = set()
        self._steps: deque[int] = deque(maxlen=KEPT_STEPS)
        """Where the end was at the latest steps of time."""

    def publish(self, event: Event) -> None:
        self._events.append(event)
        self.version = event.stored.version
        self.bytes += len(event.stored.raw)
        while self.shortens and (len(self._events) > _MAX_EVENTS or self.bytes > _MAX_BYTES):
            self.drop_oldest()
        for watch in self._watches:
            watch.wake()

    def watch(self, since: int | None) -> Watch:
        """From just after version `since`, or from now. Raises Expired."""
        return Watch(self, self._end if since is None else self._end - len(self.since(since)))

    def since(self, version: int) -> list[Event]:
        """What has happened after `version`. Raises Expired."""
        if version < self._floor:
            raise Expired(f"too old resource version: {version} ({self._floor})")
        return [event for event in self._events if event.stored.version > version]

    def after(self, position: int) -> list[Event]:
        """What has happened since `position`. Raises Expired when some of it has left."""
        if position < self._dropped:
            raise Expired("the watch fell behind")
        return list(islice(self._events, position - self._dropped, None))

    def forget(self) -> None:
        """All but the latest: a client may be between two pages of a list, or between a list and
        its watch. One from further back lists again."""
        if self._steps:
            self._forget_before(self._steps[-1])

    def grow_old(self) -> None:
        """Called in equal steps of time: what is KEPT_STEPS of them old is history no more."""
        if len(self._steps) == KEPT_STEPS:
            self._forget_before(self._steps[0])
        self._steps.append(self._end)

    def _forget_before(self, position: int) -> None:
        wanted = min((watch.position for watch in self._watches), default=position)
        while self._dropped < min(wanted, position):
            self.drop_oldest()

    @property
    def watched(self) -> int:
        """How many follow it."""
        return len(self._watches)

    @property
    def _end(self) -> int:
        return self._dropped + len(self._events)

    @property
    def shortens(self) -> bool:
        """The latest change stays, however large: those who watch must hear of it."""
        return len(self._events) > 1

    def drop_oldest(self) -> None:
        gone = self._events.popleft()
        self.bytes -= len(gone.stored.raw)
        self._dropped += 1
        self._floor = gone.stored.version

    def attach(self, watch: Watch) -> None:
        self._watches.add(watch)

    def detach(self, watch: Watch) -> None:
        self._watches.discard(watch)


class History:
    """The rings of all resources, by resource."""

    def __init__(self, floor: int) -> None:
        self._rings: defaultdict[str, Ring] = defaultdict(lambda: Ring(floor))

    def of(self, resource: str) -> Ring:
        return self._rings[resource]

    def publish(self, resource: str, event: Event) -> None:
        """Where all together are too many, the longest history becomes shorter."""
        self._rings[resource].publish(event)
        while sum(ring.bytes for ring in self._rings.values()) > MAX_TOTAL:
            longer = [ring for ring in self._rings.values() if ring.shortens]
            if not longer:
                return
            max(longer, key=lambda ring: ring.bytes).drop_oldest()

    @property
    def watched(self) -> int:
        """How many watches there are."""
        return sum(ring.watched for ring in self._rings.values())

    def forget(self) -> None:
        """What was before the latest step of time, and no watch of now still has to hear of."""
        for ring in self._rings.values():
            ring.forget()

    def grow_old(self) -> None:
        """A minute has passed: history is kept for some."""
        for ring in self._rings.values():
            ring.grow_old()


class Watch:
    """A cursor: `async with` it and iterate; each step gives the batch that has gathered."""

    def __init__(self, ring: Ring, position: int) -> None:
        self._ring = ring
        self._position = position
        self._news = asyncio.Event()
        self._news.set()

    @property
    def position(self) -> int:
        """Of the next change to read."""
        return self._position

    def wake(self) -> None:
        self._news.set()

    async def __aenter__(self) -> Self:
        self._ring.attach(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ring.detach(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        """The changes since the last step, at least one. Raises Expired."""
        while True:
            await self._news.wait()
            batch = self.take()
            if batch:
                return batch

    def take(self) -> list[Event]:
        """The changes since the last step, perhaps none, without waiting. Raises Expired."""
        self._news.clear()
        batch = self._ring.after(self._position)
        self._position += len(batch)
        return batch
