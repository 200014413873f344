"""Thresholds: when a run of probe results becomes a verdict."""

from __future__ import annotations

from msgspec import Struct

from edgeorch.core.observed import ProbeKind
from edgeorch.model import views


class Run(Struct, frozen=True):
    """How often in a row the probe has given the same result."""

    result: bool | None = None
    length: int = 0


def advance(run: Run, result: bool) -> Run:
    return Run(result, run.length + 1 if run.result is result else 1)


def verdict(run: Run, probe: views.Probe) -> bool | None:
    """What the run says; None while it is too short to say anything new."""
    if run.result is None:
        return None
    threshold = probe.success_threshold if run.result else probe.failure_threshold
    return run.result if run.length >= threshold else None


def initially(kind: ProbeKind) -> bool:
    """What holds before the first verdict."""
    return kind is ProbeKind.LIVENESS


def ends_probing(kind: ProbeKind, said: bool) -> bool:
    """Whether nothing more needs to be asked of this container after that verdict."""
    return kind is ProbeKind.STARTUP or (kind is ProbeKind.LIVENESS and not said)
