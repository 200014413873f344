"""Giving memory back: after a burst, what was freed goes to the system again.

glibc keeps freed pages for the next allocation, which on a device with 512 MB is somebody else's
memory. Source: malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collect garbage and return free pages. Takes milliseconds; other C libraries: only the
    first half."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
