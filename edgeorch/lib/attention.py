"""Hear when files of the kernel's own change: those of sysfs and procfs that announce it.

Source: poll(2) on POLLPRI, Documentation/filesystems/sysfs.rst (sysfs_notify), proc_pid_mounts(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import select
from collections.abc import Iterable

_READ = 4096


class Attention:
    def __init__(self, paths: Iterable[pathlib.Path]) -> None:
        """Paths that are not there, or cannot be polled, are left out."""
        self._poll = select.epoll()
        self._files: dict[int, pathlib.Path] = {}
        for path in paths:
            with contextlib.suppress(OSError):
                self._add(path)

    def _add(self, path: pathlib.Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._poll.register(file, select.EPOLLPRI)
        except OSError:  # a file on a disk, in a test
            os.close(file)
            raise
        self._files[file] = path
        self._read(file)

    async def wait(self) -> set[pathlib.Path]:
        """Which have changed since the last call, once one has; that of mounts may be missing, as
        the kernel tells of it only once. Give it a rest before you call again."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        loop.add_reader(self._poll.fileno(), changed.set)
        try:
            await changed.wait()
        finally:
            loop.remove_reader(self._poll.fileno())
        found = {self._files[file] for file, _ in self._poll.poll(0)}
        for file in self._files:
            self._read(file)
        return found

    def close(self) -> None:
        self._poll.close()
        for file in self._files:
            os.close(file)

    @staticmethod
    def _read(file: int) -> None:
        """The next announcement comes only after that."""
        with contextlib.suppress(OSError):
            os.pread(file, _READ, 0)
