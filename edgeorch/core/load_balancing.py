"""Which addresses a Service of type LoadBalancer gets: the device's own, or some of a pool.

Pure. Without a pool every such Service has the device's own addresses, as k3s' servicelb gives
them, and a port belongs to the oldest Service that asks for it. With a pool each Service has one
address of the pool to itself and keeps it. A Service that gets nothing is told why.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from msgspec import Struct

Key = tuple[str, str]
"""Namespace and name."""

Port = tuple[str, int]
"""Protocol and number."""

_MOST = 1 << 12
"""A pool walks at most this much of a range: IPv6 networks are larger than any device."""


class Request(Struct, frozen=True):
    """A Service that wants to be balanced."""

    key: Key
    created: str
    ports: frozenset[Port]
    held: tuple[str, ...] = ()
    """What it has now."""
    wanted: str = ""
    """spec.loadBalancerIP."""


class Grant(Struct, frozen=True):
    addresses: tuple[str, ...] = ()
    why_not: str = ""


class Pool:
    """Addresses beside the device's own, as ranges of which both ends are included."""

    def __init__(self, ranges: Iterable[tuple[str, str]] = ()) -> None:
        self._ranges = [
            (ipaddress.ip_address(first), ipaddress.ip_address(last)) for first, last in ranges
        ]

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __contains__(self, address: object) -> bool:
        found = ipaddress.ip_address(str(address))
        return any(
            first.version == found.version and int(first) <= int(found) <= int(last)
            for first, last in self._ranges
        )

    def addresses(self) -> Iterable[str]:
        for first, last in self._ranges:
            for number in range(int(first), min(int(last), int(first) + _MOST) + 1):
                yield str(type(first)(number))


NO_POOL = Pool()


def grant(
    requests: Iterable[Request],
    own: Sequence[str],
    pool: Pool,
    reserved: frozenset[Port] = frozenset(),
) -> dict[Key, Grant]:
    """`own`: the device's addresses. `reserved`: ports of the device that nobody may take over."""
    ordered = sorted(requests, key=lambda each: (each.created, each.key))
    if pool:
        return _of_pool(ordered, pool)
    return _of_device(ordered, own, reserved)


def _of_device(
    ordered: list[Request], own: Sequence[str], reserved: frozenset[Port]
) -> dict[Key, Grant]:
    owners: dict[Port, Key] = {}
    found = {}
    for request in ordered:
        found[request.key] = _own(request, own, reserved, owners)
        if found[request.key].addresses:
            owners |= dict.fromkeys(request.ports, request.key)
    return found


def _own(
    request: Request, own: Sequence[str], reserved: frozenset[Port], owners: dict[Port, Key]
) -> Grant:
    if not own:
        return Grant(why_not="the device has no address yet")
    if request.wanted and request.wanted not in own:
        return Grant(
            why_not=f"{request.wanted} is not an address of the device: it has {', '.join(own)}"
        )
    for protocol, port in sorted(request.ports):
        if (protocol, port) in reserved:
            return Grant(why_not=f"port {port}/{protocol} is the device's own")
        if other := owners.get((protocol, port)):
            return Grant(why_not=f"port {port}/{protocol} is taken by Service {'/'.join(other)}")
    return Grant((request.wanted,) if request.wanted else tuple(own))


def _of_pool(ordered: list[Request], pool: Pool) -> dict[Key, Grant]:
    """Those who have an address keep it, then those who ask for one, then the others, by age."""
    taken: dict[str, Key] = {}
    found: dict[Key, Grant] = {}
    for request in ordered:
        for address in request.held[:1]:
            fits = not request.wanted or request.wanted == address
            if address in pool and address not in taken and fits:
                taken[address] = request.key
                found[request.key] = Grant((address,))
    waiting = [request for request in ordered if request.key not in found]
    for request in sorted(waiting, key=lambda each: not each.wanted):
        found[request.key] = chosen = _free(request, pool, taken)
        taken |= dict.fromkeys(chosen.addresses, request.key)
    return found


def _free(request: Request, pool: Pool, taken: dict[str, Key]) -> Grant:
    if request.wanted:
        if request.wanted not in pool:
            return Grant(why_not=f"{request.wanted} is not in network.load_balancer_pool")
        if other := taken.get(request.wanted):
            return Grant(why_not=f"{request.wanted} is taken by Service {'/'.join(other)}")
        return Grant((request.wanted,))
    for address in pool.addresses():
        if address not in taken:
            return Grant((address,))
    return Grant(why_not="no address is free in network.load_balancer_pool")
