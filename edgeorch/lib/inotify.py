"""Word of changes in directories, from inotify(7): an awaitable instead of polling."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import pathlib

CLOSE_WRITE = 0x0008
MOVED_FROM = 0x0040
MOVED_TO = 0x0080
CREATE = 0x0100
DELETE = 0x0200
DELETE_SELF = 0x0400
MOVE_SELF = 0x0800
_F_RDLCK = 0
_READ = 16 * 1024


class Directories:
    """`changed` is set after something has; make it inside the running loop, close it after."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.changed = asyncio.Event()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise _failure("inotify_init1")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._read)

    def add(self, path: pathlib.Path, mask: int) -> None:
        """Watch this one too; again is as good as once. Raises OSError."""
        if self._libc.inotify_add_watch(self._handle, os.fsencode(path), mask) < 0:
            raise _failure(f"watch {path}")

    def close(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)

    def _read(self) -> None:
        try:
            os.read(self._handle, _READ)
        except BlockingIOError:
            return
        self.changed.set()


class Directory(Directories):
    """One directory."""

    def __init__(self, path: pathlib.Path, mask: int) -> None:
        """Raises OSError, also when there is no such directory."""
        super().__init__()
        try:
            self.add(path, mask)
        except OSError:
            self.close()
            raise


def is_being_written(path: pathlib.Path) -> bool:
    """Whether somebody has the file open for writing: then a read lease on it is refused (fcntl(2),
    F_SETLEASE). File systems without leases cannot say: False. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, _F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"cannot {what}: {os.strerror(number)}")
