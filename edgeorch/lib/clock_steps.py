"""Hear of the wall clock being set, when it happens.

A timer of CLOCK_REALTIME that is never due is cancelled by the kernel whenever that clock jumps
(also by NTP's first correction, and on resume from suspend). timerfd_create(2),
TFD_TIMER_CANCEL_ON_SET; Python has os.timerfd_create from 3.13 on.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import pathlib
import time

from edgeorch.lib import clock, inotify

_ABSOLUTE, _CANCEL_ON_SET = 1, 2
_LONG_BITS = 8 * ctypes.sizeof(ctypes.c_long)
_NEVER = 2**31 - 1 if _LONG_BITS == 32 else 2**40


class _Spec(ctypes.Structure):
    """struct itimerspec: interval, then the time at which it is due."""

    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "at", "at_ns")]


class ClockSteps:
    def __init__(self) -> None:
        self._fd = -1
        self._lab: inotify.Directory | None = None

    async def wait(self) -> None:
        """Until the clock has been set since the last call. Raises OSError."""
        if clock.LAB in os.environ:
            await self._lab_clock()
            return
        if self._fd < 0:
            self._fd = _create()
            self._arm()
        loop = asyncio.get_running_loop()
        while True:
            readable = asyncio.Event()
            loop.add_reader(self._fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._fd)
            if self._cancelled():
                self._arm()
                return

    async def _lab_clock(self) -> None:
        if self._lab is None:
            folder = pathlib.Path(os.environ[clock.LAB]).parent
            self._lab = inotify.Directory(folder, inotify.MOVED_TO)
        await self._lab.changed.wait()
        self._lab.changed.clear()

    def close(self) -> None:
        if self._lab is not None:
            self._lab.close()
            self._lab = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cancelled(self) -> bool:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        return True

    def _arm(self) -> None:
        spec = _Spec(0, 0, _NEVER, 0)
        flags = _ABSOLUTE | _CANCEL_ON_SET
        if _libc().timerfd_settime(self._fd, flags, ctypes.byref(spec), None):
            raise _error()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _create() -> int:
    fd: int = _libc().timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _error()
    return fd


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"cannot watch the clock: {os.strerror(number)}")
