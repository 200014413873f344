"""What is used of pyroute2, without the rest of it.

Importing pyroute2 loads every protocol it knows (Wi-Fi, IPVS, WireGuard, ipset …), and a test
double of one line loads unittest: together nearly 3 MB that nobody here needs. So the package is
put in place bare, as a path to its modules, before its own first line is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator


def _bare(name: str) -> None:
    """The package `name` without what its __init__ imports; nothing where it is loaded already."""
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None:
        return
    package = types.ModuleType(name)
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package


@contextlib.contextmanager
def _without_unittest() -> Iterator[None]:
    """pyroute2.netlink.rtnl.iprsocket makes one Mock, of which only the synchronous socket has a
    use."""
    if "unittest" in sys.modules:
        yield
        return
    stand_in, mock = types.ModuleType("unittest"), types.ModuleType("unittest.mock")
    vars(mock)["Mock"], vars(stand_in)["mock"] = object, mock
    sys.modules |= {"unittest": stand_in, "unittest.mock": mock}
    try:
        yield
    finally:
        del sys.modules["unittest"], sys.modules["unittest.mock"]


_bare("pyroute2")
with _without_unittest():
    from pyroute2.iproute.linux import AsyncIPRoute as _AsyncIPRoute
    from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["AsyncIPRoute", "NetlinkError"]


class AsyncIPRoute(_AsyncIPRoute):  # type: ignore[misc]
    """As pyroute2's, but it forgets what nobody waits for.

    After the answer to a "get" the kernel sends an acknowledgement, when whoever asked has gone on.
    pyroute2 keeps it for a reader of everything else; there is none here, and each would take a
    page for ever.
    """

    def enqueue(self, data: bytes, addr: object) -> None:
        """`data` begins with a nlmsghdr (netlink(7))."""
        if int.from_bytes(data[8:12], sys.byteorder) in self.msg_queue.queues:
            super().enqueue(data, addr)
