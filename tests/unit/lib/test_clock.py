"""The wall clock that is shown never says a time that has been."""

from __future__ import annotations

import datetime
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import clock as clocks
from edgeorch.lib import time_floor

UTC = datetime.UTC
LAST = datetime.datetime(2026, 6, 1, 12, tzinfo=UTC)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


class Machine:
    """A wall clock that anybody may set, and one that only goes on."""

    def __init__(self, wall: datetime.datetime = EPOCH) -> None:
        self.wall = wall
        self.steady = 10.0

    def pass_(self, seconds: float) -> None:
        self.wall += datetime.timedelta(seconds=seconds)
        self.steady += seconds

    def clock(self, least: datetime.datetime = LAST) -> clocks.SystemClock:
        return clocks.SystemClock(least, read=lambda: self.wall, steady=lambda: self.steady)


@pytest.mark.ask(5)
def test_a_clock_without_a_battery_goes_on_from_the_last_known_time() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_(90)
    assert clock.now() == LAST + datetime.timedelta(seconds=90)
    assert clock.behind() > datetime.timedelta(days=20000)
    machine.wall = LAST + datetime.timedelta(days=1)
    assert clock.now() == machine.wall
    assert clock.behind() == datetime.timedelta()


def test_a_clock_that_is_known_to_be_right_counts_also_where_it_is_behind() -> None:
    machine = Machine(LAST - datetime.timedelta(days=30))
    clock = machine.clock()
    assert clock.now() == LAST
    clock.follow()
    machine.pass_(5)
    assert clock.now() == machine.wall


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("pass"), st.integers(0, 10**6)),
            st.tuples(st.just("set"), st.integers(-2 * 10**9, 2 * 10**9)),
        )
    )
)
def test_it_never_says_a_time_before_the_last_known_one(moves: list[tuple[str, int]]) -> None:
    machine = Machine(LAST)
    clock = machine.clock()
    for what, seconds in moves:
        if what == "pass":
            machine.pass_(seconds)
        else:
            machine.wall = LAST + datetime.timedelta(seconds=seconds)
        assert clock.now() >= LAST
        assert clock.now() >= machine.wall


def test_the_last_known_time_is_kept_by_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "clock"
    floor = time_floor.TimeFloor(path)
    assert floor.read() == clocks.RELEASED
    clock = clocks.ManualClock(now=LAST)
    if floor.is_due(clock):
        floor.save(clock)
    assert time_floor.TimeFloor(path).read() == LAST
    clock.advance(30)
    if floor.is_due(clock):
        floor.save(clock)
    assert floor.read() == LAST, "along with other writes it is kept once a minute"
    floor.save(clock)
    assert floor.read() == LAST + datetime.timedelta(seconds=30)
    assert path.stat().st_size == 0


def test_a_medium_that_refuses_is_no_error(tmp_path: pathlib.Path) -> None:
    floor = time_floor.TimeFloor(tmp_path / "not" / "there")
    floor.save(clocks.ManualClock())
    assert floor.read() == clocks.RELEASED


def test_a_lab_says_how_wrong_the_clock_is(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("-1000000000")
    before = clocks.wall()
    monkeypatch.setenv(clocks.LAB, str(wrong))
    assert before - clocks.wall() > datetime.timedelta(seconds=999_999_000)
