"""Room kept for the store, so that on a full disk what makes room again can still be written.

Three parts. The store and its log (SQLite's WAL) own blocks beyond their ends, which nobody else
can take. They are for changes and deletions: what is new is refused while there is no other room.
And a folder of files beside it is given up when even that is not enough, for the store or whatever
else needs a little to make room: containerd, directories. They are made again once there is room.
Everything here blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pathlib
import shutil
import threading

log = logging.getLogger(__name__)

PIECE = 1 << 20
"""Bytes of one file: several of them also keep inodes."""
AHEAD = (1 << 20, 4 << 20)
"""Bytes for each of the store and its log: what matters most, then all that the log takes before
it is used from its beginning again (1000 pages of 4 KiB)."""
_ENOUGH = 2
"""There is to be room for so many reserves before one is made again."""
_LEAST = 1 << 20
_UNUSABLE, _UNUSABLE_SHARE = 16 << 20, 50
"""What ext4 counts as free and gives to nobody: 4096 blocks or one in fifty (ext4(5))."""
_KEEP_SIZE = 1
_BLOCK = 512


class Reserve:
    def __init__(self, folder: pathlib.Path, size: int) -> None:
        """`size` in bytes, in whole pieces; 0 for none."""
        self._folder = folder
        self._names = [str(number) for number in range(size // PIECE)]
        self.held = not self._names

    def make(self) -> bool:
        """Whether all of it is there now. Never raises."""
        if not self._names:
            return True
        try:
            missing = [name for name in self._names if not self._is_whole(name)]
            self.held = not missing or self._fill(missing)
        except OSError as error:
            log.debug("Cannot make %s: %s", self._folder, error)
            self.held = False
        return self.held

    def is_short(self) -> bool:
        """Whether there is no room for anything new. Cheap."""
        if not self._names:
            return False
        try:
            found = os.statvfs(self._folder.parent)
        except OSError:
            return False
        size = found.f_frsize
        unusable = min(_UNUSABLE, found.f_blocks * size // _UNUSABLE_SHARE)
        return found.f_bfree * size < unusable + _LEAST

    def _is_whole(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / name).stat().st_blocks * _BLOCK >= PIECE
        return False

    def _fill(self, missing: list[str]) -> bool:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = os.statvfs(self._folder)
        room = found.f_bfree * found.f_frsize >= _ENOUGH * len(missing) * PIECE
        if not room or (found.f_files and found.f_ffree < _ENOUGH * len(missing)):
            return False
        for name in missing:
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, PIECE)
            finally:
                os.close(handle)
        return True

    def give_up(self) -> bool:
        """Whether there was anything to give."""
        if not self._names or not self._folder.exists():
            return False
        given = any(self._is_whole(name) for name in self._names)
        shutil.rmtree(self._folder, ignore_errors=True)
        self.held = False
        if given:
            log.warning("The disk is full: %s has been given up", self._folder)
        return given


class Ahead:
    """Blocks that a file owns beyond its end; its size stays as it is (fallocate(2)).

    Where the file system cannot, or has none to give, there are none. Of a database the object must
    outlive the connection: closing any descriptor of a file gives up all its locks (fcntl(2)).
    """

    def __init__(self, path: pathlib.Path, *, reused: bool = False) -> None:
        """`reused`: the file is written again and again from its beginning, and counts as a
        whole."""
        self._path = path
        self._reused = reused
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._use = threading.Lock()
        """Whoever closes waits for who allocates: the number may be another file's right after."""
        self._closed = False

    def lacks(self, size: int) -> bool:
        """Whether there are fewer bytes of them. Asks nothing of the medium."""
        found = os.fstat(self._handle)
        return found.st_blocks * _BLOCK < self._begin(found) + size

    def keep(self, size: int) -> None:
        """See that there are so many bytes of them. Blocks."""
        with self._use:
            if self._closed or not self.lacks(size):
                return
            begin = self._begin(os.fstat(self._handle))
            offset, length = ctypes.c_int64(begin), ctypes.c_int64(size)
            if self._libc.fallocate64(self._handle, _KEEP_SIZE, offset, length):
                told = os.strerror(ctypes.get_errno())
                log.debug("Cannot have blocks for %s beforehand: %s", self._path, told)

    def _begin(self, found: os.stat_result) -> int:
        return 0 if self._reused else found.st_size

    def close(self) -> None:
        with self._use:
            self._closed = True
            os.close(self._handle)
