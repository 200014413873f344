"""Whether the wall clock can be believed: somebody keeps it in step, says the kernel."""

from __future__ import annotations

import ctypes

_TIMEX_BYTES = 256
"""struct timex, with room to spare; all zeros asks and changes nothing."""
_TIME_ERROR = 5


def is_synchronised() -> bool:
    """adjtimex(2): False from boot until NTP, PTP or the like has set the clock."""
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR
