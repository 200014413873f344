"""Steps of the wall clock are told; what it says is believed once somebody has set it."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from edgeorch.agent import wall_clock
from edgeorch.lib import clock as clocks
from edgeorch.lib import conditions, tasks
from tests.unit.lib.test_clock import EPOCH, LAST, Machine

YEAR = datetime.timedelta(days=365)


class Watched:
    """A machine whose clock is watched, and what is told of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.clock = machine.clock()
        self.board = conditions.Board()
        self.events: list[tuple[str, str, str]] = []
        self.kept = 0
        self._set: asyncio.Queue[None] = asyncio.Queue()
        self._waiting = asyncio.Event()
        self.watch = wall_clock.WallClock(
            self.clock, self.board, lambda *told: self.events.append(told), self._wait, self._keep
        )

    async def _wait(self) -> None:
        self._waiting.set()
        await self._set.get()

    def _keep(self) -> None:
        self.kept += 1

    async def rest(self) -> None:
        await self._waiting.wait()
        self._waiting.clear()

    async def set(self, wall: datetime.datetime) -> None:
        self.machine.wall = wall
        self._set.put_nowait(None)
        await self.rest()

    @property
    def reason(self) -> str:
        held = self.board.find(wall_clock.CONDITION)
        return held.reason if held else ""


@pytest.fixture(autouse=True)
def no_time_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "is_synchronized", lambda: False)


@pytest.mark.ask(6)
async def test_from_1970_to_the_right_time_fifty_years_on_and_back() -> None:
    seen = Watched(Machine(EPOCH))
    async with tasks.running({"clock": seen.watch.run}):
        await seen.rest()
        assert (seen.reason, seen.events) == ("ClockBehindLastKnownTime", [])
        right = LAST + datetime.timedelta(days=3)
        for wall, way in ((right, "forward"), (right + 50 * YEAR, "forward"), (right, "back")):
            await seen.set(wall)
            assert seen.reason == "ClockIsPlausible"
            assert seen.clock.now() == wall
            kind, reason, message = seen.events.pop()
            assert (kind, reason) == ("Warning", "ClockStepped")
            assert f"set {way} by 5" in message  # 56 years, 50 years, 50 years
        assert (seen.kept, seen.events) == (3, [])


async def test_a_clock_that_is_set_to_1970_is_not_believed() -> None:
    seen = Watched(Machine(LAST))
    async with tasks.running({"clock": seen.watch.run}):
        await seen.rest()
        await seen.set(EPOCH)
    assert seen.reason == "ClockBehindLastKnownTime"
    assert seen.clock.now() == LAST
    assert "from 2026-06-01T12:00:00Z to 1970-01-01T00:00:00Z" in seen.events[0][2]


async def test_a_correction_of_less_than_a_second_is_none() -> None:
    seen = Watched(Machine(LAST))
    async with tasks.running({"clock": seen.watch.run}):
        await seen.rest()
        await seen.set(LAST + datetime.timedelta(seconds=0.4))
    assert seen.events == []
