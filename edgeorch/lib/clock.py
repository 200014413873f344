"""Time as the rest of the house may use it.

Decisions use `monotonic` (CLOCK_BOOTTIME: counts through suspend, survives a restart of the
process, starts again at boot); `now` is wall time and only ever shown. The wall clock may stand in
1970 at boot and jump later.
"""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since boot."""

    def now(self) -> datetime.datetime:
        """Wall time, UTC, for display only."""


class SystemClock:
    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)


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
