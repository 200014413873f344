"""When the node runs short of something, and what follows: the kubelet's rules and words.

A signal is an amount that is left of something; a threshold says below what the node is short of
it, at once (hard) or when it stays so (soft). Conditions outlive their cause by a while, so that
they do not flap. Which pod goes first is `core.pressure_ranks`. As pkg/kubelet/eviction
(eviction_manager.go, helpers.go); times are of the clock that no correction moves.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from edgeorch.core import eviction, qos, scheduling
from edgeorch.lib import quantity
from edgeorch.model import views

CRITICAL = 2_000_000_000
"""Priority from which on a pod is never put out for the node's sake."""
MEMORY, STORAGE, INODES, PIDS = "memory", "ephemeral-storage", "inodes", "pids"
MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE = "MemoryPressure", "DiskPressure", "PIDPressure"
TAINTS = {
    MEMORY_PRESSURE: "node.kubernetes.io/memory-pressure",
    DISK_PRESSURE: "node.kubernetes.io/disk-pressure",
    PID_PRESSURE: "node.kubernetes.io/pid-pressure",
}
"""That a node with such a condition has, with the effect NoSchedule."""


class Signal(enum.Enum):
    """In the order in which they are dealt with."""

    MEMORY = "memory.available"
    NODEFS = "nodefs.available"
    NODEFS_INODES = "nodefs.inodesFree"
    IMAGEFS = "imagefs.available"
    IMAGEFS_INODES = "imagefs.inodesFree"
    PIDS = "pid.available"

    @property
    def resource(self) -> str:
        return _RESOURCES[self]

    @property
    def condition(self) -> str:
        return _CONDITIONS[self.resource]


_RESOURCES = {
    Signal.MEMORY: MEMORY,
    Signal.NODEFS: STORAGE,
    Signal.NODEFS_INODES: INODES,
    Signal.IMAGEFS: STORAGE,
    Signal.IMAGEFS_INODES: INODES,
    Signal.PIDS: PIDS,
}
_CONDITIONS = {
    MEMORY: MEMORY_PRESSURE,
    STORAGE: DISK_PRESSURE,
    INODES: DISK_PRESSURE,
    PIDS: PID_PRESSURE,
}
_ORDER = {signal: place for place, signal in enumerate(Signal)}


class Amount(Struct, frozen=True):
    """A quantity, or a share of what there is at most."""

    whole: int = 0
    percent: float = 0.0

    def of(self, capacity: int) -> int:
        return int(capacity * self.percent / 100) if self.percent else self.whole


NOTHING = Amount()


def amount(text: str) -> Amount:
    """Raises ValueError."""
    if text.endswith("%"):
        return Amount(percent=float(text[:-1]))
    return Amount(whole=quantity.parse(text).value())


class Threshold(Struct, frozen=True):
    signal: Signal
    value: Amount
    grace: float | None = None
    """Seconds that a soft one is undercut before anything is done; None: it is a hard one."""
    min_reclaim: Amount = NOTHING
    """How far above it there is to be enough again."""


class Policy(Struct, frozen=True):
    thresholds: tuple[Threshold, ...]
    transition: float = 300.0
    """Seconds that a condition stays after its cause has gone."""
    max_pod_grace: float = 0.0
    """Seconds at most that a pod has to end where a soft threshold asks for it."""


class Level(Struct, frozen=True):
    """What is left, and what there is at most."""

    available: int
    capacity: int


Levels = Mapping[Signal, Level]


class State(Struct, frozen=True):
    """What is known from the looks so far."""

    since: Mapping[Threshold, float] = field(default_factory=dict)
    """Since when each threshold that is undercut is so."""
    due: tuple[Threshold, ...] = ()
    """Those for which something is to be done now, what comes first first."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """When each condition last had a cause."""
    conditions: tuple[str, ...] = ()
    """Those that hold."""


def policy(
    hard: Mapping[str, str],
    soft: Mapping[str, str],
    graces: Mapping[str, float],
    reclaim: Mapping[str, str],
    **more: float,
) -> Policy:
    """By names of signals, of values that have been checked. An amount of 0 turns one off."""
    found = []
    for signal in Signal:
        name = signal.value
        back = amount(reclaim.get(name, "0"))
        for texts, grace in ((hard, None), (soft, graces.get(name, 0.0))):
            value = amount(texts.get(name, "0"))
            if value != NOTHING and value.percent < 100:
                found.append(Threshold(signal, value, grace, back))
    return Policy(tuple(found), **more)


def judge(rules: Policy, before: State, levels: Levels, now: float) -> State:
    met = [each for each in rules.thresholds if is_met(each, levels)]
    # What has been acted on is over only when there is a little more than just enough.
    met += [each for each in before.due if each not in met and is_met(each, levels, enough=True)]
    since = {each: before.since.get(each, now) for each in met}
    seen = {**before.seen, **{each.signal.condition: now for each in met}}
    seen = {name: at for name, at in seen.items() if now - at < rules.transition or at == now}
    due = [each for each in met if now - since[each] >= (each.grace or 0.0)]
    due.sort(key=lambda each: (_ORDER[each.signal], each.grace is not None))
    return State(since, tuple(due), seen, tuple(name for name in TAINTS if name in seen))


def is_met(threshold: Threshold, levels: Levels, *, enough: bool = False) -> bool:
    """Whether there is less than it says; `enough`: than it wants back."""
    level = levels.get(threshold.signal)
    if level is None or level.capacity <= 0:
        return False
    least = threshold.value.of(level.capacity)
    if enough:
        least += threshold.min_reclaim.of(level.capacity)
    return level.available < least


def wake_at(rules: Policy, state: State) -> float | None:
    """When a condition ends or a soft threshold is due, if nothing else happens."""
    moments = [at + rules.transition for at in state.seen.values()]
    moments += [at + (each.grace or 0.0) for each, at in state.since.items()]
    return min(moments, default=None)


def critical(pod: views.Pod) -> bool:
    return pod.spec.priority >= CRITICAL


def refusal(pod: views.Pod, conditions: Iterable[str]) -> tuple[str, str] | None:
    """Reason and message: a node that is short of something takes in no more."""
    held = tuple(conditions)
    if not held or critical(pod):
        return None
    if held == (MEMORY_PRESSURE,):
        taint = views.Taint(key=TAINTS[MEMORY_PRESSURE], effect="NoSchedule")
        best_effort = qos.qos_class(pod.spec) == qos.BEST_EFFORT
        if not best_effort or scheduling.tolerates(pod, taint):
            return None
    return eviction.EVICTED, f"The node had condition: [{' '.join(held)}]. "
