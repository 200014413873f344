"""How much of a file system a tree of files takes: blocks and inodes, as du(1) counts them."""

from __future__ import annotations

import os

from msgspec import Struct

_BLOCK = 512
"""The unit of st_blocks (stat(3type))."""


class Usage(Struct, frozen=True):
    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.bytes + other.bytes, self.inodes + other.inodes)


class FileSystem(Struct, frozen=True):
    """Bytes and inodes; `available` to users that are not root."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int


def tree(path: str | os.PathLike[str]) -> Usage:
    """Of everything at and below `path` on its file system; nothing when it is not there.

    A file with several names counts once. Blocks: a thousand files take a few milliseconds.
    """
    try:
        top = os.lstat(path)
    except OSError:
        return Usage()
    size, inodes = top.st_blocks, 1
    linked: set[int] = set()
    folders = [os.fspath(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    found = _status(entry)
                    if found is None or found.st_dev != top.st_dev:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif found.st_nlink > 1:
                        if found.st_ino in linked:
                            continue
                        linked.add(found.st_ino)
                    size += found.st_blocks
                    inodes += 1
        except OSError:  # gone meanwhile, or no folder
            continue
    return Usage(size * _BLOCK, inodes)


def file_system(path: str | os.PathLike[str]) -> FileSystem:
    """That `path` is on. Raises OSError."""
    found = os.statvfs(path)
    return FileSystem(
        capacity=found.f_blocks * found.f_frsize,
        available=found.f_bavail * found.f_frsize,
        used=(found.f_blocks - found.f_bfree) * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )


def is_in_memory(path: str | os.PathLike[str]) -> bool:
    """Whether what is written there never comes to a medium; False where nobody says."""
    try:
        found = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    device = f"{os.major(found)}:{os.minor(found)}"
    return any(
        line[2] == device and line[line.index("-") + 1] in ("tmpfs", "ramfs") for line in lines
    )


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None
