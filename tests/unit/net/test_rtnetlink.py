"""Of pyroute2 only what is used is loaded."""

from __future__ import annotations

import subprocess
import sys

_LOAD = """
import sys
from edgeorch.net import rtnetlink
assert rtnetlink.AsyncIPRoute and issubclass(rtnetlink.NetlinkError, Exception)
print(*sys.modules)
import unittest.mock
assert unittest.mock.Mock().anything
"""


def test_nothing_is_loaded_that_nobody_uses_and_nobody_else_is_disturbed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOAD], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "pyroute2.iproute.linux" in loaded
    for name in ("unittest", "pyroute2.ipset", "pyroute2.netlink.nl80211", "pyroute2.ipvs"):
        assert name not in loaded
