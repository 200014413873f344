"""Keeping memory small: one heap for all threads, and what was freed goes back to the system.

glibc gives every thread a heap of its own, and keeps freed pages for the next allocation, which on
a device with 512 MB is somebody else's memory. Other C libraries are left as they are. Sources:
mallopt(3), malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 128 * 1024
"""Bytes from which a buffer has pages of its own. glibc raises this up to 32 MiB with what it sees
freed, and large buffers then lie among small ones that stay."""


def one_heap() -> None:
    """Before the first thread is made. Threads here wait for one another anyway."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)


def proportional() -> int:
    """Bytes of this process, shared pages by their share (PSS); 0 where the kernel does not say.

    Takes a millisecond or two: the kernel walks all pages.
    """
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as file:
            found = next((line for line in file if line.startswith("Pss:")), "Pss: 0 kB")
    except OSError:
        return 0
    return int(found.split()[1]) * 1024


def give_back() -> None:
    """Collect garbage and return free pages. Takes milliseconds."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
