"""Which boot of the machine this is."""

from __future__ import annotations

import functools
from pathlib import Path

_FILE = Path("/proc/sys/kernel/random/boot_id")
"""random(4)."""


@functools.cache
def boot_id() -> str:
    """Tells this one from all others. Raises OSError."""
    return _FILE.read_text(encoding="ascii").strip()
