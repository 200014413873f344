"""Whether this host's own networks leave room for ours, seen from outside: nothing is changed.

What `Network` finds out while it starts, told beforehand by `edgeorch check`. Reads files of the
kernel only (proc_pid_net(5)), so that it also works where netlink is not allowed.
"""

from __future__ import annotations

import ipaddress
import pathlib

from edgeorch.net import addresses, links

ROUTES = pathlib.Path("/proc/net/route")
INTERFACES = pathlib.Path("/sys/class/net")


def overlap(routes: str, cidr: str, bridge: str) -> str:
    """The first foreign route into `cidr`, "" without. `routes`: the text of /proc/net/route."""
    snapshot = _snapshot(routes, bridge)
    found = addresses.overlapping(snapshot, cidr, links.PROTOCOL)
    if found is None:
        return ""
    return f"{found.destination} on {snapshot.links[found.interface].name}"


def _snapshot(routes: str, bridge: str) -> addresses.Snapshot:
    snapshot = addresses.Snapshot()
    for line in routes.splitlines()[1:]:
        name, destination, *_, mask = line.split()[:8]
        if name in ("*", bridge):
            continue  # no interface: unreachable ranges, ours among them
        network = ipaddress.ip_network(f"{_address(destination)}/{_address(mask)}")
        index = len(snapshot.links) + 1
        snapshot.links[index] = addresses.Link(index, name, "", True, False, addresses.DEFAULT_MTU)
        told = "default" if network.prefixlen == 0 else str(network)
        snapshot.routes.append(addresses.Route(told, index))
    return snapshot


def _address(text: str) -> ipaddress.IPv4Address:
    """Eight hexadecimal digits, in this machine's byte order: little-endian on all we run on."""
    return ipaddress.IPv4Address(bytes.fromhex(text)[::-1])


def is_foreign(interface: pathlib.Path) -> bool:
    """Whether the interface (a folder of INTERFACES) is there and not made by us."""
    try:
        return (interface / "ifalias").read_text().strip() != links.ALIAS
    except FileNotFoundError:
        return False
