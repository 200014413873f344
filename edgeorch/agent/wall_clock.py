"""The wall clock, watched: an event for each step, and a condition while it cannot be right.

Nothing here decides anything: durations are measured since boot. Where the clock is behind the last
known time (no battery, no network yet) times are counted on from that one (lib.clock) until
somebody sets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from edgeorch.lib import clock as clocks
from edgeorch.lib import metrics

if TYPE_CHECKING:
    from edgeorch.lib import conditions

log = logging.getLogger(__name__)

CONDITION = "ClockNotTrusted"
WORTH_TELLING = 1.0
"""Seconds: a smaller step is none for anybody who reads events."""
_LOOK_AGAIN = 900.0
"""Seconds between looks for a time server while the clock is not trusted."""
_UNITS = ((365 * 86400, "year"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_FIX = "have it reach a time server (timedatectl), or set it (date -s)"


class Clock(clocks.Clock, Protocol):
    def wall(self) -> datetime.datetime: ...
    def behind(self) -> datetime.timedelta: ...
    def follow(self) -> None: ...


class WallClock:
    def __init__(
        self,
        clock: Clock,
        board: conditions.Board,
        tell: Callable[[str, str, str], None],
        set_: Callable[[], Awaitable[None]],
        keep: Callable[[], None],
    ) -> None:
        """`set_` waits until somebody sets the clock; `keep` remembers its time."""
        self._clock = clock
        self._board = board
        self._tell = tell
        self._set = set_
        self._keep = keep
        self._seen = clock.wall(), clock.monotonic()
        self._steps = metrics.Counter(
            "edgeorch_clock_steps_total", "How often the wall clock was set by a second or more."
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._steps)
        registry.one(
            "edgeorch_clock_synchronized",
            "1 while the clock follows a time server.",
            clocks.is_synchronized,
        )
        registry.one(
            "edgeorch_clock_behind_seconds",
            "Seconds by which the clock is behind the last time that is known.",
            lambda: self._clock.behind().total_seconds(),
        )

    async def run(self) -> None:
        """For ever."""
        self._look(stepped=False)
        while True:
            wrong = self._clock.behind() > datetime.timedelta(seconds=WORTH_TELLING)
            stepped = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN if wrong else None):
                    await self._set()
                    stepped = True
            self._look(stepped=stepped)

    def _look(self, *, stepped: bool) -> None:
        before, at = self._seen
        self._seen = wall, now = self._clock.wall(), self._clock.monotonic()
        step = (wall - before).total_seconds() - (now - at)
        told = abs(step) >= WORTH_TELLING
        # Somebody set it, or a time server did: that is how it is known what time it is.
        if clocks.is_synchronized() or (stepped and told and wall >= clocks.RELEASED):
            self._clock.follow()
        if told:
            self._steps.add()
            text = _moved(step, before + datetime.timedelta(seconds=now - at), wall)
            log.warning("%s", text)
            self._tell("Warning", "ClockStepped", text)
        self._hold()
        if stepped:
            self._keep()

    def _hold(self) -> None:
        behind = self._clock.behind().total_seconds()
        if behind > WORTH_TELLING:
            text = (
                f"the clock says {clocks.rfc3339(self._clock.wall())}, which has been; times are "
                f"counted on from the last one known: {_FIX}"
            )
            self._board.hold(CONDITION, True, "ClockBehindLastKnownTime", text)
        elif clocks.is_synchronized():
            self._board.hold(CONDITION, False, "ClockIsSynchronized", "a time server is followed")
        else:
            text = "the clock is not behind the last known time; no time server is followed"
            self._board.hold(CONDITION, False, "ClockIsPlausible", text)


def _moved(step: float, before: datetime.datetime, now: datetime.datetime) -> str:
    way = "forward" if step > 0 else "back"
    return (
        f"the wall clock was set {way} by {_length(abs(step))}, from {clocks.rfc3339(before)} to "
        f"{clocks.rfc3339(now)}; nothing restarts, durations are not measured by it"
    )


def _length(seconds: float) -> str:
    """In the largest unit of which there are at least two."""
    for size, name in _UNITS:
        count = round(seconds / size)
        if count >= 2:
            return f"{count} {name}s"
    return "1 second"
