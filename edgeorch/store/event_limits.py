"""No event stays for ever, and not any number of them, whoever made it.

What the device itself says is bounded by the recorder; controllers of others that run on it make
events through the API. Kubernetes forgets all of them after an hour (--event-ttl). Only events wake
this, and the moment at which the oldest goes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from edgeorch.model import kinds
from edgeorch.store import recorder, watch

if TYPE_CHECKING:
    from edgeorch.lib import clock as clocks
    from edgeorch.store.objects import Objects

_RESOURCE = kinds.EVENT.resource
MOST = 2 * recorder.MAX_EVENTS
"""Of all together."""


class EventLimits:
    def __init__(self, objects: Objects, clock: clocks.Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._changed: OrderedDict[tuple[str, str], float] = OrderedDict()
        """When each was made or said again, the oldest first."""

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with self._objects.watch(_RESOURCE) as changes:
                    self._take_stock()
                    while True:
                        self._forget()
                        self._note(await self._next(changes))
            except watch.Expired:
                continue

    async def _next(self, changes: watch.Watch) -> list[watch.Event]:
        try:
            async with asyncio.timeout(self._patience()):
                return await anext(changes)
        except TimeoutError:
            return []

    def _patience(self) -> float | None:
        oldest = next(iter(self._changed.values()), None)
        if oldest is None:
            return None
        return max(0.0, oldest + recorder.TTL - self._clock.monotonic())

    def _take_stock(self) -> None:
        now = self._clock.monotonic()
        there = {stored.key for stored in self._objects.list(_RESOURCE).items}
        for key in self._changed.keys() - there:
            del self._changed[key]
        for key in there:
            self._changed.setdefault(key, now)

    def _note(self, batch: list[watch.Event]) -> None:
        now = self._clock.monotonic()
        for event in batch:
            key = event.stored.key
            self._changed.pop(key, None)
            if event.type != watch.DELETED:
                self._changed[key] = now

    def _forget(self) -> None:
        now = self._clock.monotonic()
        while self._changed:
            key, changed = next(iter(self._changed.items()))
            if len(self._changed) <= MOST and now - changed < recorder.TTL:
                return
            del self._changed[key]
            self._objects.forget(_RESOURCE, *key)
