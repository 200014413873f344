"""Taking output out of a container's FIFOs so that no moment loses or doubles any of it.

What leaves a FIFO is moved by the kernel (splice(2)) to the end of a spool file beside it: whether
it has been taken is told by that file's size, so a process that is killed in between leaves it in
exactly one of the two. A record says how much of the spools stands in the log, and where the log
ended then: what was written after that is taken back and written again by the next process.

    stdout.<n>, stderr.<n>   what was taken and may not stand in the log yet
    taken                    the record

The run directory is a tmpfs: none of this touches the disk. It outlives the process, not the boot,
and neither do containers. Where there is no room for spools, output is read straight into memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path

CHUNK = 64 * 1024
"""Bytes taken of one stream in one turn."""
_EMPTY_AT = 16 * 1024
"""Size from which a spool of which nothing is needed any more is emptied: it is memory."""
_RENEW_AT = 256 * 1024
"""Size at which a spool is begun anew with what is still needed of it."""
_RECORD = struct.Struct("<6Q")
_SPLICE_F_NONBLOCK = 2
_CANNOT = (errno.ENOSPC, errno.EDQUOT, errno.EINVAL, errno.ENOSYS)


class Spool:
    """Of one stream. What has been taken, from `done` on, does not stand in the log."""

    def __init__(self, folder: Path, name: str, number: int, done: int) -> None:
        self._folder = folder
        self._name = name
        self._number = number
        self._fd = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        self.done = min(done, self._size)

    @property
    def place(self) -> tuple[int, int]:
        return self._number, self.done

    def left(self) -> bytes:
        """What a former process has taken and not written."""
        return os.pread(self._fd, self._size - self.done, self.done)

    def take(self, fifo: int) -> bytes:
        """The next piece, b"" at the end of the stream. Raises BlockingIOError."""
        try:
            count = os.splice(
                fifo, self._fd, CHUNK, offset_dst=self._size, flags=_SPLICE_F_NONBLOCK
            )
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return os.read(fifo, CHUNK)
        if not count:
            return b""
        data = os.pread(self._fd, count, self._size)
        self._size += count
        return data

    def wrote(self, rest: int) -> None:
        """All that was taken stands in the log but the last `rest` bytes."""
        self.done = max(self.done, self._size - rest)

    @property
    def is_spent(self) -> bool:
        return self.done == self._size and self._size > _EMPTY_AT

    def empty(self) -> None:
        """Once the record says that all of it stands in the log; it is to be told the new place."""
        os.ftruncate(self._fd, 0)
        self._size = self.done = 0

    @property
    def is_big(self) -> bool:
        return self._size > _RENEW_AT

    def renew(self, rest: bytes) -> int | None:
        """Go on in a new file that begins with `rest`; the number of the old one.

        The change counts once the record tells it; only then the old file may go. None when there
        is no room for it: the old one grows on.
        """
        number = self._number + 1
        try:
            fd = os.open(
                self._path(number), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            if os.write(fd, rest) < len(rest):
                os.close(fd)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.forget(number)
            return None
        os.close(self._fd)
        former, self._number = self._number, number
        self._fd, self._size, self.done = fd, len(rest), 0
        return former

    def forget(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(number))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number}"


class Record:
    """How far the spools of a container have come into its log."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "taken", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = os.pread(self._fd, _RECORD.size, 0)
        whole = len(data) == _RECORD.size
        out, out_done, err, err_done, inode, size = _RECORD.unpack(data) if whole else (0,) * 6
        self.places = {"stdout": (out, out_done), "stderr": (err, err_done)}
        self.log: tuple[int, int] | None = (inode, size) if whole else None
        """Inode and size of the log's file at that moment."""

    def write(self, inode: int, size: int) -> None:
        """One small write: it is there as a whole or not at all, whenever the process is killed."""
        (out, out_done), (err, err_done) = self.places["stdout"], self.places["stderr"]
        # Without room for it, lines may come twice after this process was killed.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, _RECORD.pack(out, out_done, err, err_done, inode, size), 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
