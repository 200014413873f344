"""Log files on disk: appending with rotation, reading across rotated files, finding the tail.

Blocking code, called in threads. A log is `<n>.log` and up to `max_files - 1` rotated ones beside
it, `<n>.log.20261122-170000`, as the kubelet names them; they sort by name in the order they were
written, also when the clock stood still or went back. Only whole entries are appended, so every
file ends with a newline, and rotation falls between entries.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from pathlib import Path

MAX_SIZE = 10 * 1024 * 1024
MAX_FILES = 5
BLOCK = 64 * 1024
_STAMP = "%Y%m%d-%H%M%S"


def rotated(path: Path) -> list[Path]:
    """The rotated files of a log, oldest first."""
    prefix = path.name + "."
    try:
        names = [name for name in os.listdir(path.parent) if name.startswith(prefix)]
    except FileNotFoundError:
        return []
    return [path.parent / name for name in sorted(names)]


class Appender:
    """The one writer of a log."""

    def __init__(self, path: Path, *, max_size: int = MAX_SIZE, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._fd = -1
        self._size = 0

    def write(self, entries: bytes, now: datetime.datetime) -> None:
        """Raises OSError; the file is then tried anew next time."""
        if self._fd < 0:
            self._open()
        if self._size >= self._max_size:
            self._rotate(now)
        try:
            view = memoryview(entries)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self.close()  # the next write begins a line of its own
            raise
        self._size += len(entries)

    def open(self) -> None:
        """Make the file, so that it is there before the first line."""
        if self._fd < 0:
            self._open()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            self._size = os.fstat(fd).st_size
            # A power cut may have torn the last entry.
            if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
                self._size += os.write(fd, b"\n")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _rotate(self, now: datetime.datetime) -> None:
        older = rotated(self._path)
        name = self._path.name + "." + now.strftime(_STAMP)
        if older and name <= older[-1].name:
            name = _after(older[-1].name)
        self.close()
        self._path.rename(self._path.with_name(name))
        for path in older[: max(0, len(older) + 2 - self._max_files)]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self._open()


def _after(name: str) -> str:
    """A name one second after a rotated file's."""
    base, _, stamp = name.rpartition(".")
    try:
        moment = datetime.datetime.strptime(stamp, _STAMP).replace(tzinfo=datetime.UTC)
    except ValueError:
        return name + "-1"  # not ours; sorts after it
    return f"{base}.{(moment + datetime.timedelta(seconds=1)).strftime(_STAMP)}"


class Cursor:
    """Reads a log from a place on, through rotations that happen meanwhile."""

    def __init__(self, path: Path, *, tail_lines: int | None = None) -> None:
        """Raises FileNotFoundError when there is no such log."""
        self._path = path
        self._fd = -1
        files = [*rotated(path), path]
        if tail_lines is None:
            self._enter_first(files)
        else:
            self._enter_tail(files, tail_lines)

    def read(self) -> bytes:
        """The next block; b"" at the end of what is written so far."""
        while True:
            data = os.read(self._fd, BLOCK)
            if data or not self._next():
                return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _enter_first(self, files: list[Path]) -> None:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                self._fd = _open(file)
                return
        raise FileNotFoundError(str(self._path))

    def _enter_tail(self, files: list[Path], wanted: int) -> None:
        for file in reversed(files):
            try:
                fd = _open(file)
            except FileNotFoundError:
                continue  # rotated away since it was listed, or not yet made
            self.close()
            self._fd = fd
            offset, found = tail_offset(fd, wanted)
            os.lseek(fd, offset, os.SEEK_SET)
            wanted -= found
            if wanted <= 0:
                return
        if self._fd < 0:
            raise FileNotFoundError(str(self._path))

    def _next(self) -> bool:
        """Go on to the file written after this one, if there is one."""
        following = self._following()
        if following is None:
            return False
        try:
            fd = _open(following)
        except FileNotFoundError:
            return False
        if os.fstat(self._fd).st_size > os.lseek(self._fd, 0, os.SEEK_CUR):
            os.close(fd)  # appended to between our last read and the rotation
            return True
        self.close()
        self._fd = fd
        return True

    def _following(self) -> Path | None:
        here = _identity(os.fstat(self._fd))
        files: list[Path] = []
        for _ in range(3):  # the writer may be between renaming one file and making the next
            files = [*rotated(self._path), self._path]
            found = [_identity_of(file) for file in files]
            if here in found:
                position = found.index(here) + 1
                return files[position] if position < len(files) else None
            if found[-1] is None:
                return None
        return files[0]  # ours was removed as too old while we read it


def tail_offset(fd: int, wanted: int) -> tuple[int, int]:
    """Where the last `wanted` lines of a file begin, and how many there are (at most that).

    Reads backwards in blocks: memory stays flat whatever the size.
    """
    end = os.fstat(fd).st_size
    if wanted <= 0 or not end:
        return end, 0
    found = 0
    position = end - 1  # the newline that ends the last line does not begin another
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        count = block.count(b"\n")
        if found + count >= wanted:
            return position + _nth_last(block, wanted - found) + 1, wanted
        found += count
    return 0, found + 1


def _nth_last(block: bytes, nth: int) -> int:
    at = len(block)
    for _ in range(nth):
        at = block.rindex(b"\n", 0, at)
    return at


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.stat())
    except FileNotFoundError:
        return None
