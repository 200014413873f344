"""What the lab reads from and asks of the kernel: mounts, cgroups, processes, namespaces.

proc(5), cgroups(7), mount_namespaces(7). Parsing is apart from reading, so that it is tested with
texts. Everything here copes with things that vanish while they are looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .device import LabError

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_OCTAL = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


# --- mounts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mount:
    point: str
    kind: str
    options: str


def parse_mountinfo(text: str) -> list[Mount]:
    """proc_pid_mountinfo(5), in the kernel's order."""
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _source, options = tail.split(" ", 2)
        mounts.append(Mount(_unescaped(head.split(" ")[4]), kind, options))
    return mounts


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def mounts() -> list[Mount]:
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def beneath(found: Iterable[Mount], tops: Iterable[Path]) -> list[str]:
    """Mount points at or under `tops`, in the order in which they come off."""
    roots = [str(top) for top in tops]
    points = [
        mount.point
        for mount in found
        if any(mount.point == root or mount.point.startswith(f"{root}/") for root in roots)
    ]
    # Deepest first; of several on one point the one mounted last is on top.
    points.reverse()
    return sorted(points, key=lambda point: -point.count("/"))


def unmount(point: str) -> None:
    """At once if possible, else as soon as the last user is gone."""
    name = os.fsencode(point)
    if _libc.umount2(name, 0) and _libc.umount2(name, _MNT_DETACH):
        raise LabError(f"cannot unmount {point}: {os.strerror(ctypes.get_errno())}")


# --- cgroups ---------------------------------------------------------------------------------

# Hierarchies that the lab's own programs join, so that `down` finds what they leave behind.
SYSTEM_CONTROLLERS = frozenset({"memory", "cpu", "cpuacct", "pids", "unified"})


def hierarchies(found: Iterable[Mount]) -> dict[Path, frozenset[str]]:
    """Each cgroup mount with its controllers; `unified` stands for version 2."""
    trees: dict[Path, frozenset[str]] = {}
    for mount in found:
        if mount.kind == "cgroup2":
            trees[Path(mount.point)] = frozenset({"unified"})
        elif mount.kind == "cgroup":
            trees[Path(mount.point)] = frozenset(mount.options.split(","))
    return trees


def join_cgroup(path: str) -> None:
    """Moves the calling process; for a child between fork and exec."""
    for tree, controllers in hierarchies(mounts()).items():
        if controllers & SYSTEM_CONTROLLERS:
            group = tree / path.lstrip("/")
            group.mkdir(parents=True, exist_ok=True)
            (group / "cgroup.procs").write_text("0")


def cgroup_dirs(path: str) -> list[Path]:
    """Every directory of this cgroup in every hierarchy, deepest first."""
    dirs: list[Path] = []
    for tree in hierarchies(mounts()):
        for top, _, _ in os.walk(tree / path.lstrip("/"), topdown=False):
            dirs.append(Path(top))
    return dirs


def cgroup_pids(path: str) -> set[int]:
    pids: set[int] = set()
    for group in cgroup_dirs(path):
        with contextlib.suppress(OSError):
            pids.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    return pids


def thaw_cgroups(path: str) -> None:
    """A frozen process takes no signal, not even SIGKILL (version 1)."""
    for group in cgroup_dirs(path):
        for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                if (group / name).exists():
                    (group / name).write_text(word)


# --- processes -------------------------------------------------------------------------------


def started_at(pid: int) -> int | None:
    """Start time in clock ticks, which tells a process from a later one with the same id.

    None if there is none, or only a zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(") ")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def write_pid(path: Path, pid: int) -> None:
    path.write_text(f"{pid} {started_at(pid) or 0}\n")


def read_pid(path: Path) -> int | None:
    """The process of a pid file, if that very process still runs."""
    try:
        pid, ticks = map(int, path.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if started_at(pid) == ticks else None


def processes() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            yield int(entry)


def pids_in_netns(name: str) -> set[int]:
    try:
        wanted = (NETNS_DIR / name).stat()
    except OSError:
        return set()
    pids = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), wanted):
                pids.add(pid)
    return pids


def pids_with_argument(word: str) -> set[int]:
    """Processes of which one argument is exactly `word`."""
    wanted, pids = word.encode(), set()
    for pid in processes():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                pids.add(pid)
    return pids


def family() -> set[int]:
    """This process and its ancestors, which `down` must not end."""
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(") ")[2].split()[1])
    return pids


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Looks every 10 ms: the kernel pushes nothing about other people's children or mounts."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- network namespaces ----------------------------------------------------------------------


def netns_exists(name: str) -> bool:
    return (NETNS_DIR / name).exists()


def ip(*arguments: str, netns: str | None = None, check: bool = True) -> None:
    place = ("-n", netns) if netns else ()
    done = subprocess.run(["ip", *place, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LabError(f"cannot ip {' '.join(arguments)}: {done.stderr.strip()}")


def in_netns(name: str, function: Callable[[], T]) -> T:
    """Calls `function` in a thread that has entered the namespace; setns(2) is per thread."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            fd = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter namespace {name}")
            finally:
                os.close(fd)
            answer.append(function())
        except BaseException as error:  # raised again by the calling thread
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return answer[0]
