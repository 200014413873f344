"""What the kernel counts for a cgroup or for the machine, read when somebody asks.

Memory's working set is what kubelet calls so: usage without inactive file cache. Sources:
cgroups(7), cgroup-v2.rst, cgroup-v1/memory.rst, proc(5).
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from msgspec import Struct

CGROUP = pathlib.Path("/sys/fs/cgroup")
PROC = pathlib.Path("/proc")
MACHINE = ""
"""Stands for the machine where cgroups are named by their paths."""
_NANO = 1_000_000_000
_UNLIMITED = 1 << 60


class Counters(Struct, frozen=True):
    """`cpu` in nanoseconds, memory in bytes. `at` is the clock's time of reading."""

    cpu: int
    working_set: int
    usage: int = 0
    rss: int = 0
    faults: int = 0
    major_faults: int = 0
    limit: int | None = None
    swap: int = 0
    processes: int = 0
    at: float = 0.0

    @property
    def available(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.working_set)


class Interface(Struct, frozen=True):
    """Bytes and errors since it is there (/proc/net/dev)."""

    name: str
    received: int
    receive_errors: int
    sent: int
    send_errors: int


def read(paths: Iterable[str]) -> dict[str, Counters]:
    """A cgroup that has gone meanwhile is left out."""
    v2 = (CGROUP / "cgroup.controllers").exists()
    found = {}
    for path in paths:
        try:
            found[path] = _machine() if path == MACHINE else _group(path.lstrip("/"), v2=v2)
        except (OSError, ValueError, KeyError):
            continue
    return found


def interfaces(process: str = "self") -> list[Interface]:
    """Of the network namespace of a process; none when it is gone."""
    try:
        lines = (PROC / process / "net/dev").read_text().splitlines()[2:]
    except OSError:
        return []
    found = []
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = [int(each) for each in rest.split()]
        found.append(Interface(name.strip(), numbers[0], numbers[2], numbers[8], numbers[10]))
    return found


def default_interface(process: str = "self") -> str:
    """That of the default route; "" without one."""
    try:
        lines = (PROC / process / "net/route").read_text().splitlines()[1:]
    except OSError:
        return ""
    fields = (line.split() for line in lines)
    return next((each[0] for each in fields if each[1] == "00000000"), "")


def _group(path: str, *, v2: bool) -> Counters:
    return _group_v2(CGROUP / path) if v2 else _group_v1(path)


def _group_v2(folder: pathlib.Path) -> Counters:
    memory = _table(folder / "memory.stat")
    usage = _number(folder / "memory.current")
    return Counters(
        cpu=_table(folder / "cpu.stat")["usage_usec"] * 1000,
        working_set=max(0, usage - memory["inactive_file"]),
        usage=usage,
        rss=memory.get("anon", 0),
        faults=memory.get("pgfault", 0),
        major_faults=memory.get("pgmajfault", 0),
        limit=_limit(folder / "memory.max"),
        swap=_maybe(folder / "memory.swap.current"),
        processes=_maybe(folder / "pids.current"),
    )


def _group_v1(path: str) -> Counters:
    folder = CGROUP / "memory" / path
    memory = _table(folder / "memory.stat")
    usage = _number(folder / "memory.usage_in_bytes")
    return Counters(
        cpu=_number(CGROUP / "cpuacct" / path / "cpuacct.usage"),
        working_set=max(0, usage - memory["total_inactive_file"]),
        usage=usage,
        rss=memory.get("total_rss", 0),
        faults=memory.get("total_pgfault", 0),
        major_faults=memory.get("total_pgmajfault", 0),
        limit=_limit(folder / "memory.limit_in_bytes"),
        swap=memory.get("total_swap", 0),
        processes=_maybe(CGROUP / "pids" / path / "pids.current"),
    )


def _machine() -> Counters:
    """All processors but their idle time, and memory that could not be had for the asking."""
    first = (PROC / "stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _, _, irq, soft, steal = (int(number) for number in first)
    ticks = user + nice + system + irq + soft + steal
    memory = _table(PROC / "meminfo")
    faults = _table(PROC / "vmstat")
    whole = memory["MemTotal:"] * 1024
    return Counters(
        cpu=ticks * _NANO // os.sysconf("SC_CLK_TCK"),
        working_set=whole - memory["MemAvailable:"] * 1024,
        usage=whole - memory["MemFree:"] * 1024,
        rss=memory.get("AnonPages:", 0) * 1024,
        faults=faults.get("pgfault", 0),
        major_faults=faults.get("pgmajfault", 0),
        limit=whole,
        swap=(memory.get("SwapTotal:", 0) - memory.get("SwapFree:", 0)) * 1024,
    )


def _limit(path: pathlib.Path) -> int | None:
    text = path.read_text().strip()
    return None if text == "max" or int(text) >= _UNLIMITED else int(text)


def _number(path: pathlib.Path) -> int:
    return int(path.read_text())


def _maybe(path: pathlib.Path) -> int:
    """Of a controller that need not be there."""
    try:
        return _number(path)
    except (OSError, ValueError):
        return 0


def _table(path: pathlib.Path) -> dict[str, int]:
    return {
        words[0]: int(words[1]) for line in path.read_text().splitlines() if (words := line.split())
    }
