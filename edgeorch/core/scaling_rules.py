"""How fast an autoscaler may go: what it recommended and did lately, against its behaviour.

After normalizeDesiredReplicas… in pkg/controller/podautoscaler/horizontal.go. Times are seconds
since boot, so a clock that is set neither holds a scale-down back for ever nor lets one go early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from edgeorch.model import autoscaling

STABILIZATION = 300.0
"""Seconds for which the highest recommendation holds back a scale-down."""
_UP_FACTOR, _UP_LEAST = 2, 4
_IN_RANGE = "DesiredWithinRange", "the desired count is within the acceptable range"
_TOO_MANY = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
_TOO_FEW = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
_UP_LIMIT = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
)
_DOWN_LIMIT = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
_STEADY = "ReadyForNewScale", "recommended size matches current size"
_STABILIZED = (
    "recent recommendations were {} than current one, applying the {} recent recommendation"
)
_UP_STABILIZED = "ScaleUpStabilized", _STABILIZED.format("lower", "lowest")
_DOWN_STABILIZED = "ScaleDownStabilized", _STABILIZED.format("higher", "highest")

Noted = tuple[float, int]
"""A time, and how many replicas."""
Why = tuple[str, str]
"""Reason and message of a condition."""


class History(Struct, frozen=True):
    """What an autoscaler recommended, and by how much it scaled, as long as it matters."""

    recommended: tuple[Noted, ...]
    ups: tuple[Noted, ...] = ()
    downs: tuple[Noted, ...] = ()


class Bounded(Struct, frozen=True):
    """`able` says how recommendations were smoothed, `limited` (if `is_limited`) what held them."""

    replicas: int
    able: Why
    limited: Why
    is_limited: bool
    history: History


def begin(current: int, now: float) -> History:
    """The size it finds counts as recommended: a new or restarted autoscaler waits its time."""
    return History(((now, current),))


def bound(
    spec: autoscaling.AutoscalerSpec, current: int, wanted: int, history: History, now: float
) -> Bounded:
    """`wanted` by the metrics; what is to be of it, between the bounds and not too fast."""
    if spec.behavior is None:
        return _by_default(spec, current, wanted, history, now)
    return _by_behavior(spec, spec.behavior, current, wanted, history, now)


def noted(
    history: History, behavior: autoscaling.Behavior | None, old: int, new: int, now: float
) -> History:
    """After scaling from `old` to `new`."""
    if behavior is None:
        return history
    if new > old:
        kept = _recent(history.ups, _longest(behavior.scale_up), now)
        return replace(history, ups=(*kept, (now, new - old)))
    kept = _recent(history.downs, _longest(behavior.scale_down), now)
    return replace(history, downs=(*kept, (now, old - new)))


def _by_default(
    spec: autoscaling.AutoscalerSpec, current: int, wanted: int, history: History, now: float
) -> Bounded:
    recent = _recent(history.recommended, STABILIZATION, now)
    stable = max([wanted, *(replicas for _, replicas in recent)])
    able = _STEADY if stable == wanted else _DOWN_STABILIZED
    history = replace(history, recommended=(*recent, (now, wanted)))
    limit = max(_UP_FACTOR * current, _UP_LEAST)
    most, why = (limit, _UP_LIMIT) if spec.max_replicas > limit else (spec.max_replicas, _TOO_MANY)
    if stable < spec.min_replicas:
        return Bounded(spec.min_replicas, able, _TOO_FEW, True, history)
    if stable > most:
        return Bounded(most, able, why, True, history)
    return Bounded(stable, able, _IN_RANGE, False, history)


def _by_behavior(
    spec: autoscaling.AutoscalerSpec,
    behavior: autoscaling.Behavior,
    current: int,
    wanted: int,
    history: History,
    now: float,
) -> Bounded:
    up, down = behavior.scale_up, behavior.scale_down
    up_window = float(up.stabilization_window_seconds or 0)
    given = down.stabilization_window_seconds
    down_window = STABILIZATION if given is None else float(given)
    least = min([wanted, *_within(history.recommended, up_window, now)])
    most = max([wanted, *_within(history.recommended, down_window, now)])
    stable = min(max(current, least), most)
    kept = _recent(history.recommended, max(up_window, down_window), now)
    history = replace(history, recommended=(*kept, (now, wanted)))
    able = _STEADY
    if stable != wanted:
        able = _UP_STABILIZED if wanted >= current else _DOWN_STABILIZED
    replicas, limited = _limited(spec, behavior, current, stable, history, now)
    return Bounded(replicas, able, limited, replicas != stable, history)


def _limited(
    spec: autoscaling.AutoscalerSpec,
    behavior: autoscaling.Behavior,
    current: int,
    stable: int,
    history: History,
    now: float,
) -> tuple[int, Why]:
    if stable > current:
        limit = max(_up_limit(current, behavior.scale_up, history, now), current)
        most, why = (
            (limit, _UP_LIMIT) if spec.max_replicas > limit else (spec.max_replicas, _TOO_MANY)
        )
        if stable > most:
            return most, why
    elif stable < current:
        limit = min(_down_limit(current, behavior.scale_down, history, now), current)
        least, why = (
            (limit, _DOWN_LIMIT) if spec.min_replicas < limit else (spec.min_replicas, _TOO_FEW)
        )
        if stable < least:
            return least, why
    return stable, _IN_RANGE


def _up_limit(current: int, rules: autoscaling.Rules, history: History, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = _at_start(current, policy, history, now)
        if policy.type == "Pods":
            limits.append(start + policy.value)
        else:
            # Rounded up: else a small number would never grow.
            limits.append(math.ceil(start * (1 + policy.value / 100)))
    return min(limits) if rules.select_policy == "Min" else max(limits)


def _down_limit(current: int, rules: autoscaling.Rules, history: History, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = _at_start(current, policy, history, now)
        if policy.type == "Pods":
            limits.append(start - policy.value)
        else:
            limits.append(int(start * (1 - policy.value / 100)))
    return max(limits) if rules.select_policy == "Min" else min(limits)


def _at_start(current: int, policy: autoscaling.Policy, history: History, now: float) -> int:
    """How many there were when the policy's period began."""
    added = sum(_within(history.ups, policy.period_seconds, now))
    removed = sum(_within(history.downs, policy.period_seconds, now))
    return current - added + removed


def _within(noted: Sequence[Noted], seconds: float, now: float) -> list[int]:
    return [replicas for at, replicas in noted if at > now - seconds]


def _recent(noted: Sequence[Noted], seconds: float, now: float) -> list[Noted]:
    return [each for each in noted if each[0] >= now - seconds]


def _longest(rules: autoscaling.Rules) -> float:
    return float(max((policy.period_seconds for policy in rules.policies), default=0))
