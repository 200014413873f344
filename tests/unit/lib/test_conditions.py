"""Conditions: anybody holds them, all hear; an event when a problem comes, goes or changes."""

from __future__ import annotations

import pytest

from edgeorch.lib import conditions
from edgeorch.lib.conditions import Condition

FINE = Condition("UnderVoltage", False, "VoltageIsFine", "the supply holds")
LOW = Condition("UnderVoltage", True, "UnderVoltageNow", "the supply is weak")
WORDS = Condition("UnderVoltage", True, "UnderVoltageNow", "the supply is weak, still")
BEFORE = Condition("UnderVoltage", True, "UnderVoltageBefore", "the supply was weak")


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, FINE, None),
        (None, LOW, ("Warning", "UnderVoltageNow", "the supply is weak")),
        (FINE, LOW, ("Warning", "UnderVoltageNow", "the supply is weak")),
        (LOW, WORDS, None),
        (LOW, BEFORE, ("Warning", "UnderVoltageBefore", "the supply was weak")),
        (BEFORE, FINE, ("Normal", "VoltageIsFine", "the supply holds")),
    ],
)
def test_a_problem_that_comes_goes_or_changes_is_an_event(
    before: Condition | None, now: Condition, told: tuple[str, str, str] | None
) -> None:
    assert conditions.event(before, now) == told


def test_each_change_is_heard_once_and_by_late_comers_too() -> None:
    board = conditions.Board()
    board.hold("A", True, "Bad", "it is bad")
    heard: list[tuple[Condition | None, Condition]] = []
    board.listen(lambda before, now: heard.append((before, now)))
    for _ in range(2):
        board.hold("A", False, "Good", "it is good")

    bad, good = (
        Condition("A", True, "Bad", "it is bad"),
        Condition("A", False, "Good", "it is good"),
    )
    assert heard == [(None, bad), (bad, good)]
    assert board.all() == [good]
