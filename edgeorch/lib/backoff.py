"""Exponential back-off as a value: delay(n) for the n-th failure in a row (from 0)."""

from __future__ import annotations

from msgspec import Struct


class Policy(Struct, frozen=True):
    """`initial` seconds, times `factor` each failure, never above `cap` seconds."""

    initial: float
    factor: float
    cap: float

    def delay(self, failures: int) -> float:
        # The exponent is bounded so that ten thousand failures do not overflow a float.
        return min(self.cap, self.initial * self.factor ** min(failures, 64))
