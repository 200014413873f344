"""Now, by all clocks there are, for what judges credentials."""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING

from edgeorch.core import credentials
from edgeorch.lib import clock as clocks

if TYPE_CHECKING:
    from edgeorch.lib.clock import Clock

_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot() -> str:
    """Tells one boot of the machine from another."""
    return _BOOT_ID.read_text().strip()


def now(clock: Clock | None = None) -> credentials.Moment:
    clock = clock or clocks.SystemClock()
    return credentials.Moment(clock.now(), clock.monotonic(), boot(), clocks.is_synchronized)
