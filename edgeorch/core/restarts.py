"""Whether and when an ended container runs again, and whether it takes the others with it.

Rules and policies of a container come before the pod's policy (KEP-5307, KEP-5532).

CrashLoopBackOff as the kubelet has it: the first restart is immediate, then 10 s doubling up to a
ceiling, forgotten once a container has run for ten minutes or its definition has changed. The count
travels from attempt to attempt (`Container.crashes`), so it outlives the process.
"""

from __future__ import annotations

import enum

from msgspec import structs

from edgeorch.core.observed import Container, Exit, Kind
from edgeorch.lib import backoff
from edgeorch.model import views

CRASH_LOOP = backoff.Policy(initial=10.0, factor=2.0, cap=300.0)
RESET_AFTER = 600.0
"""Seconds of running after which earlier crashes are forgotten."""


ALL_CODE, ALL_REASON = 137, "RestartingAllContainers"
"""How a container shows that ended because all of its pod were to start anew (KEP-5532)."""
_ALL_MESSAGE = "The container is removed because RestartAllContainers in place"


class Answer(enum.Enum):
    """What follows from the end of a container."""

    STAY = enum.auto()
    AGAIN = enum.auto()
    ALL = enum.auto()
    """Every container of the pod starts anew, init containers included."""


def answer(pod: views.Pod, spec: views.Container, kind: Kind, ended: Exit) -> Answer:
    """The container's rules, its own restart policy, the pod's: the first that speaks."""
    if kind is Kind.EPHEMERAL:
        return Answer.STAY
    for rule in spec.restart_policy_rules:
        if _matches(rule, ended.code):
            if rule.action == "RestartAllContainers":
                return Answer.ALL
            if kind is not Kind.INIT or ended.code != 0:
                return Answer.AGAIN
    if kind is Kind.SIDECAR:
        return Answer.AGAIN
    policy = spec.restart_policy or pod.spec.restart_policy
    again = policy != "Never" and (ended.code != 0 or (policy == "Always" and kind is Kind.MAIN))
    return Answer.AGAIN if again else Answer.STAY


def wanted(pod: views.Pod, spec: views.Container, kind: Kind, ended: Exit) -> bool:
    """Whether there will be another attempt."""
    return answer(pod, spec, kind, ended) is not Answer.STAY


def _matches(rule: views.RestartRule, code: int) -> bool:
    if rule.exit_codes is None:
        return False
    return (code in rule.exit_codes.values) is (rule.exit_codes.operator == "In")


def remembered(ended: Exit, *, all_restart: bool) -> Exit:
    """The end of an attempt as the next one remembers it."""
    if not all_restart:
        return ended
    return structs.replace(ended, code=ALL_CODE, reason=ALL_REASON, message=_ALL_MESSAGE)


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
