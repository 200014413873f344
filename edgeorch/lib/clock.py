"""Time as the rest of the house may use it.

Decisions use `monotonic` (CLOCK_BOOTTIME: counts through suspend, survives a restart of the
process, starts again at boot); `now` is wall time and only ever shown. The wall clock may stand in
1970 at boot and jump later.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import pathlib
import time
from collections.abc import Callable
from typing import Protocol

RELEASED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""No clock that is right says an earlier time."""
LAB = "EDGEORCH_LAB_CLOCK"
"""Environment variable of tests: a file with the seconds that the wall clock is wrong by."""
_TIME_ERROR = 5
_TIMEX_BYTES = 512


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since boot."""

    def now(self) -> datetime.datetime:
        """Wall time, UTC, for display only."""


def wall() -> datetime.datetime:
    """What the system's clock says, right or wrong."""
    found = datetime.datetime.now(datetime.UTC)
    lab = os.environ.get(LAB)
    if lab is None:
        return found
    return found + datetime.timedelta(seconds=float(pathlib.Path(lab).read_text() or 0))


class SystemClock:
    """`now` is never before `least`, the last time that is known to have been, counted on by the
    steady clock: a board without a battery starts in 1970."""

    def __init__(
        self,
        least: datetime.datetime = RELEASED,
        *,
        read: Callable[[], datetime.datetime] = wall,
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._read = read
        self._steady = steady
        self._least, self._counted_from = max(least, RELEASED), steady()

    def monotonic(self) -> float:
        return self._steady()

    def now(self) -> datetime.datetime:
        return max(self._read(), self._counted_on())

    def wall(self) -> datetime.datetime:
        return self._read()

    def behind(self) -> datetime.timedelta:
        """How far the system's clock is behind what is shown; none when that is its time."""
        return max(self._counted_on() - self._read(), datetime.timedelta())

    def follow(self) -> None:
        """The system's clock is right, also where it is behind: from here on its time counts."""
        self._least, self._counted_from = self._read(), self._steady()

    def _counted_on(self) -> datetime.datetime:
        return self._least + datetime.timedelta(seconds=self._steady() - self._counted_from)


def is_synchronized() -> bool:
    """Whether a time server is followed, by the kernel's account (adjtimex(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if LAB in os.environ or not hasattr(libc, "adjtimex"):
        return False
    # With all modes zero it only tells; the struct is smaller than this on every architecture.
    state: int = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, monotonic: float = 1000.0, now: datetime.datetime | None = None) -> None:
        self._monotonic = monotonic
        self._now = now or datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def monotonic(self) -> float:
        return self._monotonic

    def now(self) -> datetime.datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += datetime.timedelta(seconds=seconds)


def rfc3339(moment: datetime.datetime) -> str:
    """metav1.Time: whole seconds, UTC, `Z`."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime.datetime) -> str:
    """metav1.MicroTime: six fractional digits, UTC, `Z`."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime.datetime:
    """Raises ValueError on anything but an RFC 3339 date-time."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
