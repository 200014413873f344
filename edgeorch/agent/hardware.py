"""The device's hardware, looked at: what it tells in sysfs becomes conditions of the node.

The kernel says when most of it changes (poll(2), POLLPRI); what it keeps quiet about is read once
a minute, a few small files. Nothing is read that the machine does not have. Mounts change with
every command that is run in a container: then only file systems are looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from edgeorch.core import hardware
from edgeorch.lib import attention

if TYPE_CHECKING:
    from edgeorch.lib import conditions

SYS = pathlib.Path("/sys")
_MOUNTS = pathlib.Path("/proc/self/mounts")
LOOK_AGAIN = 60.0
"""Seconds between looks at what changes without a word."""
_SETTLE = 2.0
"""Seconds that containers have to be mounted, too."""


class Hardware:
    def __init__(
        self,
        board: conditions.Board,
        written: Iterable[pathlib.Path],
        sys: pathlib.Path = SYS,
        *,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        """`written`: the directories that must take writes. `beside` is called with each look."""
        self._beside = beside
        self._board = board
        self._written = tuple(written)
        self._sys = sys

    async def run(self) -> None:
        """For ever."""
        told = attention.Attention([_MOUNTS, *speaking(self._sys)])
        try:
            while True:
                found = await asyncio.to_thread(read, self._written, self._sys)
                self._beside()
                for each in hardware.judge(found):
                    text = f"{each.message}: {each.fix}" if each.fix else each.message
                    self._board.hold(each.type, each.wrong, each.reason, text)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await self._news(told, found)
        finally:
            told.close()

    async def _news(self, told: attention.Attention, found: hardware.Readings) -> None:
        """Until there may be something to tell."""
        before, now = (found.read_only, found.file_system_errors), None
        while now in (None, before):
            changed = await told.wait()
            await asyncio.sleep(_SETTLE)
            if not changed <= {_MOUNTS}:
                return
            now = await asyncio.to_thread(file_systems, self._written, self._sys)


def speaking(sys: pathlib.Path) -> list[pathlib.Path]:
    """Files whose change the kernel announces."""
    return [*_alarms(sys), *sys.glob("fs/ext4/*/errors_count")]


def read(written: Iterable[pathlib.Path], sys: pathlib.Path = SYS) -> hardware.Readings:
    """Everything as it is now. Blocks: milliseconds."""
    throttled = [
        int(text, 16)
        for path in sys.glob("devices/platform/*/*firmware*/get_throttled")
        if (text := _text(path))
    ]
    alarms = [text != "0" for path in _alarms(sys) if (text := _text(path))]
    read_only, errors = file_systems(written, sys)
    return hardware.Readings(
        throttled=throttled[0] if throttled else None,
        low_voltage=any(alarms) if alarms else None,
        read_only=read_only,
        file_system_errors=errors,
        wear={path.parent.parent.name: _wear(path.parent) for path in _lives(sys)},
        card_errors={
            path.parent.name: hardware.count_card_errors(text)
            for path in sys.glob("kernel/debug/mmc*/err_stats")
            if (text := _text(path))
        },
    )


def _alarms(sys: pathlib.Path) -> list[pathlib.Path]:
    """Of the Pi's own supply (drivers/hwmon/raspberrypi-hwmon.c)."""
    folders = [path.parent for path in sys.glob("class/hwmon/hwmon*/name")]
    return [path / "in0_lcrit_alarm" for path in folders if _text(path / "name") == "rpi_volt"]


def _lives(sys: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in sys.glob("block/mmcblk*/device/life_time") if _text(path)]


def _wear(folder: pathlib.Path) -> hardware.Wear:
    used = tuple(int(word, 16) for word in _text(folder / "life_time").split())
    return hardware.Wear(used, int(_text(folder / "pre_eol_info") or "0", 16))


def file_systems(
    written: Iterable[pathlib.Path], sys: pathlib.Path
) -> tuple[dict[str, bool], dict[str, int]]:
    """Whether they can only be read, and what errors were recorded of which. Blocks."""
    read_only = {}
    for path in written:
        with contextlib.suppress(OSError):
            read_only[str(path)] = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    errors = {
        path.parent.name: int(text)
        for path in sys.glob("fs/ext4/*/errors_count")
        if (text := _text(path)).isdigit()
    }
    return read_only, errors


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
