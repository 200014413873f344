"""How much has been written to flash in the last day, hour by hour, and whether that is too much.

A day is 24 hours of the clock that counts since boot; nothing here knows the wall clock.
"""

from __future__ import annotations

from msgspec import Struct

HOUR = 3600.0
_HOURS = 24
_CALM = 0.9
"""Share of the budget below which what gave way comes back."""


class Ledger(Struct, frozen=True):
    """Bytes by hour since boot, the oldest first."""

    hours: tuple[tuple[int, int], ...] = ()

    def with_written(self, now: float, count: int) -> Ledger:
        hour = int(now // HOUR)
        kept = [each for each in self.hours if hour - _HOURS < each[0] <= hour]
        if count:
            last = kept.pop()[1] if kept and kept[-1][0] == hour else 0
            kept.append((hour, last + count))
        return Ledger(tuple(kept))

    def total(self) -> int:
        return sum(count for _, count in self.hours)


def is_exceeded(total: int, budget: int, *, before: bool) -> bool:
    """`budget` 0 is none. `before`: what was said last; near the limit it stays so."""
    if not budget:
        return False
    return total > budget * _CALM if before else total > budget


def told(total: int, budget: int, logs: int) -> str:
    """For people. `logs`: how much of what the process wrote were lines of containers."""
    of = f" of a budget of {human(budget)}" if budget else ""
    return f"{human(total)}{of} written in a day; containers' logs since the start: {human(logs)}"


def human(count: int) -> str:
    """In binary units, three figures."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.3g} {unit}"
