"""Keys that wait for work: coalescing, delayed, with a back-off for each key.

The frame of every level-driven loop: events only put keys in, the worker takes a key, looks at the
whole state and acts. A key that is put in twice is worked once; one that is put in while it is
worked on is worked again afterwards, never twice at the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from edgeorch.lib import backoff

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")

RETRY = backoff.Policy(initial=0.05, factor=2.0, cap=60.0)


class WorkQueue(Generic[K]):
    def __init__(self, retry: backoff.Policy = RETRY) -> None:
        self._retry = retry
        self._ready: deque[K] = deque()
        self._wanted: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.adds = self.retries = 0
        """How often a key came to wait; how often one that had failed was put off."""

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._wanted)

    def add(self, key: K) -> None:
        """Have `key` worked on soon."""
        self._cancel_timer(key)
        if key in self._wanted:
            return
        self._wanted.add(key)
        self.adds += 1
        self._idle.clear()
        if key not in self._working:
            self._ready.append(key)
            self._news.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have `key` worked on after `seconds`, or earlier if something else asks for it."""
        if key in self._wanted:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self._due, key)

    def retry(self, key: K) -> float:
        """Have a failed `key` worked on again, later each time; the delay in seconds."""
        self.retries += 1
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = self._retry.delay(failures)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    async def take(self) -> K:
        """The next key; call `done` when the work is over."""
        while not self._ready:
            self._news.clear()
            await self._news.wait()
        key = self._ready.popleft()
        self._wanted.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._wanted:
            self._ready.append(key)
            self._news.set()
        elif not self._wanted and not self._working:
            self._idle.set()

    async def idle(self) -> None:
        """Until nothing is wanted and nothing is worked on; what is due later does not count."""
        await self._idle.wait()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
