"""The budget of flash writes: what this process has written in a day, and what gives way above it.

Measured from /proc/self/io, along with other looks at the device. What was written before a restart
rests in the run directory, in memory: nothing is written to know what is written, and a boot begins
a new day. Where that directory is on a medium it is noted at a clean stop only.

Above the budget observations are written ten times more rarely (what is wanted is as durable as
ever), and old logs are not packed. Containers' lines go on: a container does not wait for its log;
how much of all they are is told.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeorch.core import flash_budget
from edgeorch.lib import disk, json

if TYPE_CHECKING:
    from edgeorch.lib import clock as clocks
    from edgeorch.lib import conditions, metrics

log = logging.getLogger(__name__)

CONDITION = "FlashBudgetExceeded"
_IO = pathlib.Path("/proc/self/io")
_MEMORY = "flash.json"
_GRAIN = 64 * 1024
"""Bytes that are not worth noting, should the process be killed."""
_FIX = "see who writes (kubectl logs, edgeorch_flash_*), or raise flash.daily_budget"


def written(path: pathlib.Path = _IO) -> int:
    """Bytes that this process has sent to media since its start (proc(5)); 0 if nobody counts."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


class FlashBudget:
    def __init__(
        self,
        budget: int,
        run_dir: pathlib.Path,
        clock: clocks.Clock,
        board: conditions.Board,
        *,
        logged: Callable[[], int],
        give_way: Callable[[bool], None],
        count: Callable[[], int] = written,
    ) -> None:
        """`budget` in bytes a day, 0: none. `logged`: bytes of containers' lines since the start.
        `give_way` is told whether the budget is exceeded when that changes."""
        self._budget = budget
        self._memory = run_dir / _MEMORY
        self._clock = clock
        self._board = board
        self._logged = logged
        self._give_way = give_way
        self._count = count
        self._seen = self._unsaved = 0
        self._costs_nothing = disk.is_in_memory(run_dir)
        self._ledger = self._remembered()
        self._exceeded = False

    def look(self) -> None:
        now, count = self._clock.monotonic(), self._count()
        more, self._seen = count - self._seen, count
        self._ledger = self._ledger.with_written(now, more)
        self._unsaved += more
        if self._unsaved >= _GRAIN and self._costs_nothing:
            self.remember()
        total = self._ledger.total()
        exceeded = flash_budget.is_exceeded(total, self._budget, before=self._exceeded)
        if exceeded is not self._exceeded:
            self._exceeded = exceeded
            self._give_way(exceeded)
        text = flash_budget.told(total, self._budget, self._logged())
        if exceeded:
            self._board.hold(CONDITION, True, "WritesTooMuch", f"{text}: {_FIX}")
        else:
            self._board.hold(CONDITION, False, "WritesWithinBudget", text)

    def measure(self, registry: metrics.Registry) -> None:
        def day() -> float:
            self.look()
            return self._ledger.total()

        registry.one(
            "edgeorch_flash_written_bytes_total",
            "Bytes that the process has sent to media since its start.",
            self._count,
            kind="counter",
        )
        registry.one(
            "edgeorch_flash_logged_bytes_total",
            "Bytes of containers' logs among them, before the kernel made pages of them.",
            self._logged,
            kind="counter",
        )
        registry.one(
            "edgeorch_flash_written_day_bytes",
            "Bytes that were sent to media in the last 24 hours, since boot at most.",
            day,
        )
        registry.one(
            "edgeorch_flash_budget_bytes",
            "Bytes that may be sent to media in 24 hours (flash.daily_budget); 0: any number.",
            lambda: self._budget,
        )

    def _remembered(self) -> flash_budget.Ledger:
        """Of a process before this one, in this boot."""
        try:
            hours = json.decode(self._memory.read_bytes())
            return flash_budget.Ledger(tuple((int(hour), int(count)) for hour, count in hours))
        except (OSError, ValueError, TypeError):
            return flash_budget.Ledger()

    def remember(self) -> None:
        """For the next process of this boot."""
        self._unsaved = 0
        aside = self._memory.with_suffix(".new")
        try:
            aside.write_bytes(json.encode(list(self._ledger.hours)))
            aside.replace(self._memory)
        except OSError as error:
            log.debug("Cannot write %s: %s", self._memory, error)
