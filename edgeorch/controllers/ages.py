"""How long ago something happened, by the clock that no correction moves.

Objects carry wall times, which are shown; durations that decide are measured since boot. What was
told by a wall time is taken once, when it is first seen, as that long ago but not in the future
and not before boot; from then on it ages by the steady clock, however the other one jumps.
"""

from __future__ import annotations

from collections.abc import Container

from edgeorch.lib import clock as clocks


class Ages:
    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[str, float]] = {}

    def of(self, what: str, stamp: str | None) -> float:
        """Seconds since `stamp` (RFC 3339), the time told of `what`; 0 when none is told."""
        now = self._clock.monotonic()
        stamp = stamp or ""
        known = self._since.get(what)
        if known is None or known[0] != stamp:
            known = self._since[what] = (stamp, now - self._ago(stamp, now))
        return now - known[1]

    def _ago(self, stamp: str, now: float) -> float:
        if not stamp:
            return 0.0
        ago = self._clock.now() - clocks.parse_rfc3339(stamp)
        return min(max(ago.total_seconds(), 0.0), now)

    def keep(self, wanted: Container[str]) -> None:
        """Forget all but these."""
        self._since = {what: since for what, since in self._since.items() if what in wanted}
