"""What wakes the bundles: changes of the kinds that they consist of, and no others.

A kind is followed from the first bundle on that has an object of it: a device without a fleet
follows nothing but Bundles.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from edgeorch.store import watch as watches
from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)


class Wakes:
    def __init__(
        self,
        objects: Objects,
        told: Callable[[str, watches.Event], None],
        everything: Callable[[], None],
    ) -> None:
        """`told` of each change of a resource that is followed; `everything` after changes that
        were not seen."""
        self._objects = objects
        self._told = told
        self._everything = everything
        self._followed: set[str] = set()
        self._more = asyncio.Event()

    def follow(self, resources: Iterable[str]) -> None:
        self._followed.update(resources)
        self._more.set()

    async def run(self) -> None:
        begun: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for resource in sorted(self._followed - begun):
                    tasks.create_task(self._watch(resource), name=f"bundles {resource}")
                begun |= self._followed
                self._more.clear()
                await self._more.wait()

    async def _watch(self, resource: str) -> None:
        while True:
            async with self._objects.watch(resource) as changes:
                self._everything()
                try:
                    async for batch in changes:
                        for event in batch:
                            self._told(resource, event)
                except watches.Expired:
                    log.debug("bundles: %s: fell behind; looking at everything", resource)
