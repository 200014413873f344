"""Small file systems of their own, for what happens when one is full, read-only or broken.

ext4 on a loop device, all of it below a directory of the test. Needs root, and a machine that has
loop devices.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/loop-control") or not shutil.which("mkfs.ext4"),
    reason="needs root, loop devices and mkfs.ext4",
)
_SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN (fs/ext4/ext4.h): every request fails with EIO from then on."""
_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""FIFREEZE, FITHAW (linux/fs.h)."""
_NO_LOG_FLUSH = 2
_DETACH = 2


@dataclass(frozen=True, slots=True)
class Medium:
    path: pathlib.Path

    @property
    def free(self) -> int:
        """Bytes, for root."""
        found = os.statvfs(self.path)
        return found.f_bfree * found.f_frsize

    @property
    def free_inodes(self) -> int:
        return os.statvfs(self.path).f_ffree

    def fill(self, leave: int = 0) -> pathlib.Path:
        """Take all blocks but `leave` bytes; the file that has them."""
        filler = self.path / "filler"
        with filler.open("ab") as file:
            while (size := self.free - leave) > 0:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    if size < 4096 or not _append(file.fileno(), self.free):
                        break
        return filler

    def fill_inodes(self, leave: int = 0) -> pathlib.Path:
        """Take all inodes but `leave`; the directory that has them."""
        folder = self.path / "inodes"
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(max(0, self.free_inodes - leave)):
                (folder / str(number)).touch()
        return folder

    def clear(self) -> None:
        """Of what `fill` and `fill_inodes` have taken."""
        (self.path / "filler").unlink(missing_ok=True)
        shutil.rmtree(self.path / "inodes", ignore_errors=True)

    def make_read_only(self) -> None:
        """As the kernel does with one that it has found damaged: under whoever writes."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=False)

    def mount(self, how: str) -> None:
        """`ro` or `rw`, while nobody has a file open for writing."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """What is written waits until this is left, as on a card that is busy with itself."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, _FREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(handle, _THAW, 0)
        finally:
            os.close(handle)

    def break_down(self) -> None:
        """As if the card had been pulled out."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, _SHUT_DOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)


def _append(handle: int, size: int) -> bool:
    """Blocks that cannot be had at once, one after the other."""
    os.lseek(handle, 0, os.SEEK_END)
    written = 0
    with contextlib.suppress(OSError):
        while written < size:
            written += os.write(handle, bytes(4096))
    return written > 0


@contextlib.contextmanager
def ext4(folder: pathlib.Path, megabytes: int, inodes: int = 1024) -> Iterator[Medium]:
    """Mounted at `folder`/medium."""
    image, point = folder / "medium.img", folder / "medium"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    make = ["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), "-E", "lazy_itable_init=0", str(image)]
    subprocess.run(make, check=True)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        yield Medium(point)
    finally:
        ctypes.CDLL(None).umount2(os.fsencode(point), _DETACH)
        image.unlink()
