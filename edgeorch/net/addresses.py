"""Which addresses the device has, which of them is the node's, and word when that changes.

Choosing is pure and works on a `Snapshot`; `Monitor` listens to rtnetlink and passes on only what
may matter: our own pods come and go without waking anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct, field

RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
IFLA_IFNAME = 3
IFA_LABEL = 3
IFF_UP = 1
RT_TABLE_LOCAL = 255
AF_BRIDGE = 7

VIRTUAL_KINDS = frozenset({"bridge", "veth", "tun", "wireguard", "vxlan", "ipip", "gre", "sit"})
"""Interfaces that other software makes; the node's address is looked for there last."""

DEFAULT_MTU = 1500


class Link(Struct, frozen=True):
    index: int
    name: str
    kind: str
    up: bool
    loopback: bool
    mtu: int


class Address(Struct, frozen=True):
    index: int
    ip: str


class Route(Struct, frozen=True):
    destination: str
    """CIDR, or "default"."""
    interface: int
    metric: int = 0
    source: str = ""
    protocol: int = 0
    usable: bool = True
    """False for unreachable, blackhole and prohibit."""


class Snapshot(Struct, frozen=True):
    """The device's own interfaces: what is edgeorch's is left out, except for its routes."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: list[Address] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)


class NodeAddresses(Struct, frozen=True):
    """`internal` is "" while the device has no address but loopback."""

    internal: str = ""
    host: str = ""
    """Where pods find the device: `internal`, or without that our bridge's address, which is
    always there."""
    all: tuple[str, ...] = ()
    mtu: int = DEFAULT_MTU
    uplinks: tuple[str, ...] = ()
    """Interfaces on which clients and replies may come in."""
    physical: tuple[str, ...] = ()
    """Of `all`, those on interfaces that no other software has made; the internal one first."""


def choose(snapshot: Snapshot, fixed: str = "", bridge: str = "") -> NodeAddresses:
    """The node's addresses; `fixed` is the InternalIP that the configuration prescribes, `bridge`
    the address of our own bridge."""
    usable = [
        address
        for address in snapshot.addresses
        if (link := snapshot.links.get(address.index)) is not None and link.up and not link.loopback
    ]
    ordered = sorted(usable, key=lambda address: _rank(snapshot.links[address.index]))
    default = _default_route(snapshot)
    chosen = _source(default, ordered) if default is not None else None
    if chosen is None and ordered:
        chosen = ordered[0]
    link = snapshot.links[chosen.index] if chosen is not None else None
    if default is not None:
        link = snapshot.links.get(default.interface, link)
    physical = [a.ip for a in ordered if not _rank(snapshot.links[a.index])[0]]
    internal = fixed or (chosen.ip if chosen is not None else "")
    uplinks = dict.fromkeys(snapshot.links[address.index].name for address in ordered)
    return NodeAddresses(
        internal=internal,
        host=internal or bridge,
        all=tuple(dict.fromkeys(address.ip for address in ordered)),
        mtu=link.mtu if link is not None else DEFAULT_MTU,
        uplinks=tuple(uplinks),
        physical=tuple(dict.fromkeys([*([internal] if internal else []), *physical])),
    )


def _rank(link: Link) -> tuple[bool, int]:
    return link.kind in VIRTUAL_KINDS - {"veth"} or link.name.startswith("veth"), link.index


def _default_route(snapshot: Snapshot) -> Route | None:
    found = [
        route
        for route in snapshot.routes
        if route.destination == "default" and route.usable and route.interface in snapshot.links
    ]
    return min(found, key=lambda route: route.metric, default=None)


def _source(route: Route, addresses: Iterable[Address]) -> Address | None:
    if route.source:
        return Address(route.interface, route.source)
    return next((a for a in addresses if a.index == route.interface), None)


def overlapping(snapshot: Snapshot, cidr: str, own_protocol: int) -> Route | None:
    """Somebody else's route into `cidr`, other than a default route."""
    wanted = ipaddress.ip_network(cidr)
    for route in snapshot.routes:
        if route.destination == "default" or route.protocol == own_protocol:
            continue
        if route.interface and route.interface not in snapshot.links:
            continue  # our own bridge's
        if ipaddress.ip_network(route.destination).overlaps(wanted):
            return route
    return None


class Own(Struct, frozen=True):
    """How the monitor tells our own interfaces and routes."""

    bridge: str
    protocol: int
    is_pod_link: Callable[[str], bool]


class Monitor:
    """Calls `changed` when interfaces, addresses or routes changed that are not merely a pod's."""

    def __init__(self, own: Own, changed: Callable[[], None]) -> None:
        self._own = own
        self._changed = changed
        self._socket: socket.socket | None = None

    def start(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE))
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        matters = False
        with contextlib.suppress(BlockingIOError):
            while self._socket is not None:
                try:
                    data = self._socket.recv(65536)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    matters = True
                    continue
                matters = matters or any(
                    concerns_node(kind, body, self._own) for kind, body in messages(data)
                )
        if matters:
            self._changed()


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink messages of a datagram: type and body."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        yield kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def concerns_node(kind: int, body: bytes, own: Own) -> bool:
    """Whether a change may alter the node's addresses or has damaged what is ours."""
    if kind in (RTM_NEWLINK, RTM_DELLINK) and len(body) >= 16:
        return _link_concerns(kind, body, own)
    if kind in (RTM_NEWADDR, RTM_DELADDR) and len(body) >= 8:
        label = _text(body[8:], IFA_LABEL)
        return kind == RTM_DELADDR if label == own.bridge else not own.is_pod_link(label)
    if kind in (RTM_NEWROUTE, RTM_DELROUTE) and len(body) >= 12:
        length, table, protocol = body[1], body[4], body[5]
        if protocol == own.protocol:
            return kind == RTM_DELROUTE and length < 32
        return table != RT_TABLE_LOCAL
    return False


def _link_concerns(kind: int, body: bytes, own: Own) -> bool:
    if body[0] == AF_BRIDGE:
        return False
    name = _text(body[16:], IFLA_IFNAME)
    (flags,) = struct.unpack_from("=I", body, 8)
    if name == own.bridge:
        return kind == RTM_DELLINK or not flags & IFF_UP
    # A pod's link that goes down or away is the agent's business, which made it so.
    return not own.is_pod_link(name)


def _text(attributes: bytes, wanted: int) -> str:
    offset = 0
    while offset + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if kind & 0x3FFF == wanted:
            return attributes[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += max(4, (length + 3) & ~3)
    return ""
