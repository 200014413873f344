"""The flash budget: measured, told, and what gives way above it."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.agent import flash
from edgeorch.lib import clock as clocks
from edgeorch.lib import conditions, disk, metrics

DAY = 24 * 3600.0


class Process:
    def __init__(
        self, run_dir: pathlib.Path, clock: clocks.ManualClock, budget: int = 1000
    ) -> None:
        self.count = 0
        self.given_way: list[bool] = []
        self.board = conditions.Board()
        self.flash = flash.FlashBudget(
            budget,
            run_dir,
            clock,
            self.board,
            logged=lambda: 70,
            give_way=self.given_way.append,
            count=lambda: self.count,
        )

    def write(self, count: int) -> str:
        """The condition's reason after that."""
        self.count += count
        self.flash.look()
        held = self.board.find(flash.CONDITION)
        return held.reason if held else ""


def test_above_the_budget_something_gives_way_until_a_day_is_over(tmp_path: pathlib.Path) -> None:
    clock = clocks.ManualClock()
    process = Process(tmp_path, clock)
    assert process.write(1000) == "WritesWithinBudget"
    assert process.write(1) == "WritesTooMuch"
    assert process.write(500) == "WritesTooMuch"
    clock.advance(DAY)
    assert process.write(10) == "WritesWithinBudget"
    assert process.given_way == [True, False]
    held = process.board.find(flash.CONDITION)
    assert held is not None
    assert held.message == (
        "10 B of a budget of 0.977 KiB written in a day; containers' logs since the start: 70 B"
    )


def test_what_a_former_process_wrote_counts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "is_in_memory", lambda _: True)
    clock = clocks.ManualClock()
    Process(tmp_path, clock, 10**7).write(9_000_000)
    assert Process(tmp_path, clock, 10**7).write(1_000_001) == "WritesTooMuch"


def test_on_a_medium_it_is_noted_at_a_clean_stop_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "is_in_memory", lambda _: False)
    process = Process(tmp_path, clocks.ManualClock(), 10**7)
    process.write(9_000_000)
    assert list(tmp_path.iterdir()) == []
    process.flash.remember()
    assert Process(tmp_path, clocks.ManualClock(), 10**7).write(1_000_001) == "WritesTooMuch"


def test_what_is_in_memory_is_told_from_what_is_on_a_medium(tmp_path: pathlib.Path) -> None:
    assert disk.is_in_memory("/dev/shm")
    assert not disk.is_in_memory("/proc")
    assert not disk.is_in_memory(tmp_path / "nothing")


def test_a_memory_that_is_no_good_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "flash.json").write_text('{"no": [1]}')
    assert Process(tmp_path, clocks.ManualClock()).write(1) == "WritesWithinBudget"


def test_without_a_budget_it_is_only_measured(tmp_path: pathlib.Path) -> None:
    process = Process(tmp_path, clocks.ManualClock(), budget=0)
    assert process.write(10**12) == "WritesWithinBudget"
    registry = metrics.Registry()
    process.flash.measure(registry)
    text = registry.render()
    assert "edgeorch_flash_written_day_bytes 1000000000000\n" in text
    assert "edgeorch_flash_logged_bytes_total 70\n" in text


def test_the_kernel_says_how_much_was_written(tmp_path: pathlib.Path) -> None:
    before = flash.written()
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    assert flash.written() >= before
    assert flash.written(tmp_path / "nothing") == 0
