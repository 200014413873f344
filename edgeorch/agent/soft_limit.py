"""The soft limit of this process's memory: above it, caches go and free pages are given back.

Looked at along with other looks at the device. What does not help is not done over and over: when
all has gone that can go, the next time is when it has grown again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeorch.lib import memory

if TYPE_CHECKING:
    from edgeorch.lib import caches, metrics

log = logging.getLogger(__name__)

_GROWN = 1024 * 1024
"""Bytes by which it has to grow to be worth another try."""


class SoftLimit:
    def __init__(
        self,
        limit: int,
        droppable: caches.Caches,
        *,
        measure: Callable[[], int] = memory.proportional,
        give_back: Callable[[], None] = memory.give_back,
    ) -> None:
        """`limit` in bytes of proportional memory; 0: none."""
        self._limit = limit
        self._caches = droppable
        self._measure = measure
        self._give_back = give_back
        self._least = 0
        self.drops = 0
        self.rests = 0

    def rest(self) -> None:
        """Things have calmed down: free pages go back, whether or not there is a limit."""
        self._give_back()
        self.rests += 1
        self.look()

    def look(self) -> None:
        if not self._limit:
            return
        used = self._measure()
        if used <= self._limit:
            self._least = 0
            return
        if self._least and not self._caches.more and used < self._least + _GROWN:
            return
        dropped = self._caches.drop()
        self._give_back()
        self._least = self._measure()
        self.drops += 1
        log.info(
            "Memory was above memory.soft_limit: %.1f MiB; dropped %s; now %.1f MiB",
            used / 2**20,
            ", ".join(dropped),
            self._least / 2**20,
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.one(
            "edgeorch_memory_soft_limit_bytes",
            "Proportional memory above which caches are dropped; 0: any amount.",
            lambda: self._limit,
        )
        registry.one(
            "edgeorch_memory_cache_drops_total",
            "How often caches were dropped for it.",
            lambda: self.drops,
            kind="counter",
        )
        registry.one(
            "edgeorch_memory_blocks",
            "Blocks that Python has allocated: what grows without end here is a leak.",
            sys.getallocatedblocks,
        )
        registry.one(
            "edgeorch_memory_given_back_total",
            "How often free pages were given back some time after pods had come, gone or changed.",
            lambda: self.rests,
            kind="counter",
        )
