"""What has been written in the last day, and when that is too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import flash_budget
from edgeorch.core.flash_budget import HOUR, Ledger


@given(st.lists(st.tuples(st.floats(0, 48 * HOUR), st.integers(0, 10**9))))
def test_a_day_is_what_was_written_in_its_hours(writes: list[tuple[float, int]]) -> None:
    ledger = Ledger()
    writes.sort()
    for at, count in writes:
        ledger = ledger.with_written(at, count)
    end = int(writes[-1][0] // HOUR) if writes else 0
    assert ledger.total() == sum(n for at, n in writes if int(at // HOUR) > end - 24)
    assert len(ledger.hours) <= 24


def test_an_idle_day_empties_it() -> None:
    ledger = Ledger().with_written(10.0, 500)
    assert ledger.with_written(23 * HOUR, 0).total() == 500
    assert ledger.with_written(24 * HOUR + 10, 0).total() == 0


@pytest.mark.parametrize(
    ("total", "budget", "before", "exceeded"),
    [
        (10, 0, False, False),
        (100, 100, False, False),
        (101, 100, False, True),
        (95, 100, True, True),
        (90, 100, True, False),
        (95, 100, False, False),
    ],
)
def test_what_gave_way_comes_back_well_below(
    total: int, budget: int, before: bool, exceeded: bool
) -> None:
    assert flash_budget.is_exceeded(total, budget, before=before) is exceeded


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (4096, "4 KiB"), (1536 * 1024, "1.5 MiB"), (2**30, "1 GiB")],
)
def test_amounts_for_people(count: int, text: str) -> None:
    assert flash_budget.human(count) == text
