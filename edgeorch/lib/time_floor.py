"""The last time that is known to have been, kept over restarts: the time of a file.

As systemd-timesyncd keeps it (/var/lib/systemd/timesync/clock). It is set along with other writes,
at a clean stop and when the clock is set: no write is for its sake, and an idle device makes none.
A cut of power loses what has passed since the last write, and never more matters: no object is
younger than the write that brought it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import pathlib

from edgeorch.lib import clock as clocks

_EVERY = 60.0
"""Seconds between two settings along with other writes."""


class TimeFloor:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._saved = float("-inf")
        self._due = asyncio.Event()

    def read(self) -> datetime.datetime:
        try:
            stamp = self._path.stat().st_mtime
            return datetime.datetime.fromtimestamp(stamp, datetime.UTC)
        except (OSError, ValueError, OverflowError):
            return clocks.RELEASED

    def save(self, clock: clocks.Clock) -> None:
        """A medium that refuses has been told of by others. Blocks."""
        self._saved = clock.monotonic()
        stamp = clock.now().timestamp()
        with contextlib.suppress(OSError, OverflowError):
            self._path.touch(mode=0o600)
            os.utime(self._path, (stamp, stamp))

    def is_due(self, clock: clocks.Clock) -> bool:
        return clock.monotonic() - self._saved >= _EVERY

    def passing(self, clock: clocks.Clock) -> None:
        """Something is written anyway."""
        if self.is_due(clock):
            self._due.set()

    async def run(self, clock: clocks.Clock) -> None:
        """For ever. However slow the medium is, nobody waits for this."""
        while True:
            await self._due.wait()
            await asyncio.to_thread(self.save, clock)
            self._due.clear()
