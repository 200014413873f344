"""Whether and when an ended container runs again.

CrashLoopBackOff as the kubelet has it: the first restart is immediate, then 10 s doubling up to a
ceiling, forgotten once a container has run for ten minutes or its definition has changed. The count
travels from attempt to attempt (`Container.crashes`), so it outlives the process.
"""

from __future__ import annotations

from edgeorch.core.observed import Container, Exit, Kind
from edgeorch.lib import backoff
from edgeorch.model import views

CRASH_LOOP = backoff.Policy(initial=10.0, factor=2.0, cap=300.0)
RESET_AFTER = 600.0
"""Seconds of running after which earlier crashes are forgotten."""


def wanted(pod: views.Pod, kind: Kind, ended: Exit) -> bool:
    """Whether the restart policy asks for another attempt."""
    if kind is Kind.EPHEMERAL:
        return False
    policy = pod.spec.restart_policy
    if kind is Kind.SIDECAR:
        return True
    if kind is Kind.INIT:
        return ended.code != 0 and policy != "Never"
    if policy == "Always":
        return True
    return policy == "OnFailure" and ended.code != 0


def crashes(container: Container, spec_hash: str) -> int:
    """Failures in a row that count against the next attempt."""
    ended = container.exit
    if ended is None or ended.at is None or container.spec_hash != spec_hash:
        return 0
    if container.started_at is not None and ended.at - container.started_at >= RESET_AFTER:
        return 0
    return container.crashes


def delay(container: Container, spec_hash: str, policy: backoff.Policy = CRASH_LOOP) -> float:
    """Seconds between the end of `container` and the next attempt."""
    failures = crashes(container, spec_hash)
    return policy.delay(failures - 1) if failures else 0.0


def due(container: Container, spec_hash: str, policy: backoff.Policy = CRASH_LOOP) -> float:
    """When the next attempt may start; in the past when at once."""
    if container.exit is None or container.exit.at is None:
        return 0.0
    return container.exit.at + delay(container, spec_hash, policy)
