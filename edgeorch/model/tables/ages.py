"""Durations for people, with the two or three figures of apimachinery's duration.HumanDuration."""

from __future__ import annotations

from datetime import datetime, timedelta

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY


def human_duration(duration: timedelta) -> str:
    """Up to two seconds in the future is now; beyond that clocks disagree: `<invalid>`."""
    seconds = int(duration.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 0)}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _two(seconds, _DAY, "d", _HOUR, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    if seconds < 8 * _YEAR:
        return _two(seconds, _YEAR, "y", _DAY, "d")
    return f"{seconds // _YEAR}y"


def _two(seconds: int, unit: int, letter: str, lesser: int, lesser_letter: str) -> str:
    rest = seconds % unit // lesser
    return f"{seconds // unit}{letter}" + (f"{rest}{lesser_letter}" if rest else "")


def since(timestamp: str | None, now: datetime) -> str:
    """Ours is the only clock: what bears a later time was stamped while it was ahead: it is new."""
    if not timestamp:
        return "<unknown>"
    return human_duration(max(now - datetime.fromisoformat(timestamp), timedelta()))


def age(obj: dict[str, object], now: datetime) -> str:
    meta = obj.get("metadata")
    created = meta.get("creationTimestamp") if isinstance(meta, dict) else None
    return since(created, now)
