"""Now, by all clocks there are, for what judges credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.core import credentials
from edgeorch.lib import boots
from edgeorch.lib import clock as clocks

if TYPE_CHECKING:
    from edgeorch.lib.clock import Clock


def now(clock: Clock | None = None) -> credentials.Moment:
    clock = clock or clocks.SystemClock()
    return credentials.Moment(
        clock.now(), clock.monotonic(), boots.boot_id(), clocks.is_synchronized
    )
