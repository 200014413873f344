"""What is left of what a node can run short of: memory, disks, inodes, processes.

Read every few seconds for as long as the device runs: two files of /proc and statvfs(2), nothing
that the medium is asked for. Memory is what could be had for the asking (MemAvailable, proc(5)).
"""

from __future__ import annotations

import os
import pathlib

from edgeorch.core.pressure import Level, Signal
from edgeorch.lib import disk

_PROC = pathlib.Path("/proc")


def levels(data_dir: os.PathLike[str], image_root: str) -> dict[Signal, Level]:
    """`image_root`: where layers lie; "" while nobody says. Blocks for well under a millisecond.

    What cannot be read is left out.
    """
    found = {Signal.MEMORY: _memory(), Signal.PIDS: _pids()}
    found |= _file_system(data_dir, Signal.NODEFS, Signal.NODEFS_INODES)
    if image_root:
        found |= _file_system(image_root, Signal.IMAGEFS, Signal.IMAGEFS_INODES)
    return {signal: level for signal, level in found.items() if level is not None}


def apart(data_dir: os.PathLike[str], image_root: str) -> bool:
    """Whether layers lie on a file system of their own."""
    try:
        return bool(image_root) and os.stat(data_dir).st_dev != os.stat(image_root).st_dev
    except OSError:
        return False


def _file_system(
    path: str | os.PathLike[str], space: Signal, inodes: Signal
) -> dict[Signal, Level | None]:
    try:
        found = disk.file_system(path)
    except OSError:
        return {}
    return {
        space: Level(found.available, found.capacity),
        inodes: Level(found.inodes_free, found.inodes),
    }


def _memory() -> Level | None:
    try:
        with open(_PROC / "meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        available, total = (lines[name].split()[0] for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return None
    return Level(int(available) * 1024, int(total) * 1024)


def _pids() -> Level | None:
    try:
        kernel = _PROC / "sys/kernel"
        most = min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))
        tasks = int((_PROC / "loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return None
    return Level(max(0, most - tasks), most)
