"""When a node is short of something: thresholds, grace, conditions that last; who is let in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import node_taints, pressure
from edgeorch.core.pressure import Level, Signal, State
from tests.unit.core import pods

MI = 1 << 20
DEFAULT = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
HARD = pressure.policy(DEFAULT, {}, {}, {})


def memory(available: int) -> dict[Signal, Level]:
    return {Signal.MEMORY: Level(available * MI, 512 * MI)}


@pytest.mark.parametrize(
    ("signal", "least", "capacity", "condition"),
    [
        (Signal.MEMORY, 100 * MI, 512 * MI, "MemoryPressure"),
        (Signal.NODEFS, 100, 1000, "DiskPressure"),
        (Signal.NODEFS_INODES, 50, 1000, "DiskPressure"),
        (Signal.IMAGEFS, 150, 1000, "DiskPressure"),
        (Signal.IMAGEFS_INODES, 50, 1000, "DiskPressure"),
    ],
)
def test_it_is_short_below_the_threshold(
    signal: Signal, least: int, capacity: int, condition: str
) -> None:
    enough = pressure.judge(HARD, State(), {signal: Level(least, capacity)}, 0)
    short = pressure.judge(HARD, State(), {signal: Level(least - 1, capacity)}, 0)
    assert (enough.due, enough.conditions) == ((), ())
    assert [each.signal for each in short.due] == [signal]
    assert short.conditions == (condition,)


def test_what_comes_first_is_dealt_with_first() -> None:
    levels = {signal: Level(0, 100) for signal in reversed(Signal)}
    state = pressure.judge(HARD, State(), levels, 0)
    assert [each.signal for each in state.due] == [s for s in Signal if s is not Signal.PIDS]
    assert state.conditions == ("MemoryPressure", "DiskPressure")


def test_a_soft_one_is_due_when_it_has_lasted() -> None:
    rules = pressure.policy({}, {"memory.available": "200Mi"}, {"memory.available": 60}, {})
    first = pressure.judge(rules, State(), memory(150), 10)
    assert (first.due, first.conditions) == ((), ("MemoryPressure",))
    assert pressure.wake_at(rules, first) == 70
    assert pressure.judge(rules, first, memory(150), 69).due == ()
    assert len(pressure.judge(rules, first, memory(150), 70).due) == 1
    between = pressure.judge(rules, first, memory(250), 40)
    assert pressure.judge(rules, between, memory(150), 75).due == ()


def test_a_condition_outlives_its_cause() -> None:
    first = pressure.judge(HARD, State(), memory(50), 10)
    gone = pressure.judge(HARD, first, memory(500), 20)
    assert (gone.due, gone.conditions) == ((), ("MemoryPressure",))
    assert pressure.wake_at(HARD, gone) == 310
    assert pressure.judge(HARD, gone, memory(500), 309.9).conditions == ("MemoryPressure",)
    over = pressure.judge(HARD, gone, memory(500), 310)
    assert over == State()
    assert pressure.wake_at(HARD, over) is None


def test_what_was_short_is_enough_with_a_little_more() -> None:
    rules = pressure.policy(DEFAULT, {}, {}, {"memory.available": "50Mi"})
    assert pressure.judge(rules, State(), memory(120), 0) == State()
    state = pressure.judge(rules, State(), memory(99), 0)
    state = pressure.judge(rules, state, memory(149), 10)
    assert len(state.due) == 1
    state = pressure.judge(rules, state, memory(150), 20)
    assert state.due == ()


@pytest.mark.parametrize("text", ["0", "0%", "100%"])
def test_one_can_be_turned_off(text: str) -> None:
    rules = pressure.policy({**DEFAULT, "nodefs.available": text}, {}, {}, {})
    assert Signal.NODEFS not in [each.signal for each in rules.thresholds]


@given(
    st.lists(st.tuples(st.floats(0, 400), st.integers(0, 200), st.integers(0, 100)), max_size=20)
)
def test_whatever_happens(steps: list[tuple[float, int, int]]) -> None:
    """What is due holds as a condition; calm ends everything after a while."""
    rules = pressure.policy(
        DEFAULT, {"memory.available": "150Mi"}, {"memory.available": 30}, {"nodefs.available": "2%"}
    )
    state, now = State(), 0.0
    for pause, mebibytes, percent in steps:
        now += pause
        levels = {**memory(mebibytes), Signal.NODEFS: Level(percent, 100)}
        state = pressure.judge(rules, state, levels, now)
        assert {each.signal.condition for each in state.due} <= set(state.conditions)
        assert all(each in state.since for each in state.due)
        at = pressure.wake_at(rules, state)
        assert (at is None) == (state == State())
    calm = {**memory(500), Signal.NODEFS: Level(100, 100)}
    state = pressure.judge(rules, state, calm, now)
    assert pressure.judge(rules, state, calm, now + 301) == State()


BURSTABLE = {"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]}
TOLERANT = {
    "tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}],
}


@pytest.mark.parametrize(
    ("spec", "held", "told"),
    [
        ({}, (), None),
        ({}, ("MemoryPressure",), "The node had condition: [MemoryPressure]. "),
        (BURSTABLE, ("MemoryPressure",), None),
        (TOLERANT, ("MemoryPressure",), None),
        (BURSTABLE, ("DiskPressure",), "The node had condition: [DiskPressure]. "),
        (TOLERANT, ("MemoryPressure", "DiskPressure"),
         "The node had condition: [MemoryPressure DiskPressure]. "),
        ({"priority": 2_000_001_000}, ("MemoryPressure", "DiskPressure"), None),
    ],
)  # fmt: skip
def test_a_node_that_is_short_takes_no_more_in(
    spec: dict[str, Any], held: tuple[str, ...], told: str | None
) -> None:
    said = pressure.refusal(pods.pod(**spec), held)
    assert said == (None if told is None else ("Evicted", told))


KEY = "node.kubernetes.io/disk-pressure"


def taint(key: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": key, "effect": effect, "timeAdded": "then"}


@pytest.mark.parametrize(
    ("before", "held", "after"),
    [
        ([], ["DiskPressure", "Ready"], [{**taint(KEY), "timeAdded": "now"}]),
        ([taint(KEY)], ["DiskPressure"], [taint(KEY)]),
        ([taint(KEY), taint("mine")], [], [taint("mine")]),
        ([taint(KEY, "NoExecute")], [], [taint(KEY, "NoExecute")]),
    ],
)
def test_taints_follow_conditions(before: Any, held: Any, after: Any) -> None:
    assert node_taints.after(before, held, "now") == after
