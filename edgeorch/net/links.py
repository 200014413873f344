"""The bridge, the pods' veth pairs, and the routes, over rtnetlink.

Pods get a /32 address, an on-link route to the gateway and a default
route through it, so that every packet passes the host's forward hook, also between two pods; the
host has a /32 route to each pod and an `unreachable` route for the rest of the range, so that what
is sent to a pod that is gone fails at once. Ports are in hairpin mode: with br_netfilter on, a
translated packet from a pod to itself leaves by the port on which it came.

What is ours is marked: the bridge by its alias, routes by their protocol number, host ends of veth
pairs by their name, which follows from the pod's uid.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import os
import pathlib
import socket
from typing import Any

from edgeorch.core import pod_bandwidth
from edgeorch.net import addresses, netns
from edgeorch.net.rtnetlink import AsyncIPRoute, NetlinkError

ALIAS = "edgeorch"
PROTOCOL = 190
"""rtm_protocol of our routes; 187-195 have no owner in the kernel's or iproute2's lists."""
PREFIX = "ve"
POD_INTERFACE = "eth0"

SCOPE_LINK = 253
SCOPE_NOWHERE = 255
HAIRPIN_ON = 1

MIN_BURST, MAX_BURST = 1 << 16, 1 << 28
"""Bytes that may pass at once: the largest segment of a pod, and what fits the kernel's field."""
BURST_SECONDS = 0.05
SHAPE_LATENCY = "25ms"
"""What waits longer is dropped; the bandwidth plugin's value."""


class LinkClash(Exception):
    """Something of somebody else is where ours should be; the text says the fix."""


def host_name(uid: str) -> str:
    """The host end's name: found again from the uid alone, 13 of 15 possible letters."""
    return PREFIX + hashlib.sha256(uid.encode()).hexdigest()[:11]


def hardware_address(ip: str) -> str:
    """A MAC that follows from the IPv4 address: a reused address leaves no stale neighbour."""
    packed = ipaddress.ip_address(ip).packed[-4:]
    return ":".join(f"{octet:02x}" for octet in (0x0A, 0x58, *packed))


class Links:
    """One netlink socket in our own namespace; opened and closed by its owner."""

    def __init__(self) -> None:
        self._ipr: Any = None
        self._dumping = asyncio.Lock()

    def open(self) -> None:
        self._ipr = AsyncIPRoute()

    def close(self) -> None:
        if self._ipr is not None:
            self._ipr.close()
            self._ipr = None

    async def _dump(self, noun: str, **which: Any) -> list[Any]:
        """All links, addresses or routes. One after the other: while a socket has a dump under way
        the kernel answers the next one with EBUSY (__netlink_dump_start in af_netlink.c)."""
        async with self._dumping:
            return [found async for found in await getattr(self._ipr, noun)("dump", **which)]

    async def index(self, name: str) -> int | None:
        found = await self._link(name)
        return int(found["index"]) if found is not None else None

    async def _link(self, name: str) -> Any:
        try:
            return (await self._ipr.link("get", ifname=name))[0]
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise

    # --- the bridge -----------------------------------------------------------------------------

    async def bridge_is_sound(self, name: str, gateway: str) -> bool:
        """Whether the bridge is there, ours, up and holds the gateway address."""
        link = await self._link(name)
        if link is None or link.get("ifalias") != ALIAS or link["state"] != "up":
            return False
        return gateway in await self._addresses_of(int(link["index"]))

    async def ensure_bridge(self, name: str, gateway: str, mtu: int) -> int:
        """Create or mend our bridge; its index. Raises LinkClash."""
        link = await self._link(name)
        if link is not None and link.get("ifalias") != ALIAS:
            raise LinkClash(
                f"interface {name} exists and is not edgeorch's: choose another name with "
                f"network.bridge, or remove it (ip link delete {name})"
            )
        if link is None:
            # The alias cannot be set while creating; a crash in between leaves a bare bridge that
            # nobody uses, so it gets a scratch name until it is marked.
            scratch = f"{PREFIX}{os.getpid() & 0xFFFF:04x}br"
            await self._delete(scratch)
            await self._ipr.link(
                "add", ifname=scratch, kind="bridge", address=hardware_address(gateway), mtu=mtu
            )
            index = await self.index(scratch)
            await self._ipr.link("set", index=index, ifalias=ALIAS)
            await self._ipr.link("set", index=index, ifname=name)
        else:
            index = int(link["index"])
        if index is None:
            raise OSError(errno.ENODEV, f"cannot create bridge {name}: it vanished")
        held = await self._addresses_of(index)
        for address in held - {gateway}:
            await self._ipr.addr("del", index=index, address=address, prefixlen=32)
        if gateway not in held:
            await self._ipr.addr("add", index=index, address=gateway, prefixlen=32)
        await self._ipr.link("set", index=index, state="up")
        return int(index)

    async def hold_addresses(self, bridge: int, gateway: str, wanted: frozenset[str]) -> set[str]:
        """Extra addresses of the device, kept on the bridge; those that are new.

        The kernel answers ARP for every address of its own on every interface (arp_ignore 0 in
        ip-sysctl), so they need not be where the packets come in.
        """
        held = await self._addresses_of(bridge) - {gateway}
        for address in held - wanted:
            await self._ipr.addr("del", index=bridge, address=address, prefixlen=32)
        for address in wanted - held:
            await self._ipr.addr("add", index=bridge, address=address, prefixlen=32)
        return set(wanted - held)

    async def remove_bridge(self, name: str) -> None:
        """Only if it is ours. Its routes and port memberships go with it."""
        link = await self._link(name)
        if link is not None and link.get("ifalias") == ALIAS:
            await self._delete(name)

    async def ensure_ranges(self, bridge: int, pods: str, services: str, gateway: str) -> None:
        """Nothing for these ranges leaves by the default route, and there is always a route.

        Without a route to a Service address connect(2) fails before the packet could be translated
        or refused; pods of ours without a /32 route are gone.
        """
        await self._ipr.route("replace", dst=pods, type="unreachable", proto=PROTOCOL)
        await self._ipr.route(
            "replace", dst=services, oif=bridge, scope=SCOPE_LINK, proto=PROTOCOL, prefsrc=gateway
        )

    async def remove_ranges(self, pods: str) -> None:
        await self._ignoring_absence(
            self._ipr.route("del", dst=pods, type="unreachable", proto=PROTOCOL)
        )

    # --- pods -----------------------------------------------------------------------------------

    async def add_pod(
        self,
        *,
        uid: str,
        pin: pathlib.Path,
        bridge: int,
        ip: str,
        gateway: str,
        mtu: int,
        bandwidth: pod_bandwidth.Bandwidth,
    ) -> None:
        """Give the namespace its interface, address and routes. The name must be free."""
        name = host_name(uid)
        inside_fd = netns.open_fd(pin)
        try:
            peer = {
                "ifname": POD_INTERFACE,
                "net_ns_fd": inside_fd,
                "address": hardware_address(ip),
                "mtu": mtu,
            }
            await self._ipr.link(
                "add", ifname=name, kind="veth", master=bridge, state="up", mtu=mtu, peer=peer
            )
        finally:
            os.close(inside_fd)
        await self.connect_pod(name, bridge, ip, gateway)
        # What leaves the host's end is what the pod receives, and the other way round.
        await _shape(self._ipr, name, bandwidth.ingress)
        inside_socket = netns.run_in(pin, _route_socket)
        inside = AsyncIPRoute(use_socket=inside_socket)
        try:
            await _configure_inside(inside, ip, gateway)
            await _shape(inside, POD_INTERFACE, bandwidth.egress)
        finally:
            inside.close()
            inside_socket.close()

    async def connect_pod(self, name: str, bridge: int, ip: str, gateway: str) -> None:
        """The host's side of it; repeatable. Raises NetlinkError (ENODEV) without the link."""
        index = await self.index(name)
        if index is None:
            raise NetlinkError(errno.ENODEV, f"no interface {name}")
        await self._ipr.link("set", index=index, master=bridge, state="up")
        await self._ipr.brport("set", index=index, mode=HAIRPIN_ON)
        await self._ipr.route(
            "replace",
            dst=f"{ip}/32",
            oif=bridge,
            scope=SCOPE_LINK,
            proto=PROTOCOL,
            prefsrc=gateway,
        )

    async def remove_pod(self, uid: str, ip: str) -> None:
        """Repeatable. The pair goes with its host end."""
        if ip:
            await self.remove_host_route(ip)
        await self._delete(host_name(uid))

    async def remove_host_route(self, ip: str) -> None:
        await self._ignoring_absence(
            # The kernel compares scopes unless told "nowhere".
            self._ipr.route("del", dst=f"{ip}/32", proto=PROTOCOL, scope=SCOPE_NOWHERE)
        )

    async def remove_link(self, name: str) -> None:
        await self._delete(name)

    async def pod_link_names(self, bridge: int) -> set[str]:
        """Host ends of ours: ports of the bridge, and orphans that carry such a name."""
        found = set()
        for link in await self._dump("link"):
            name = link.get("ifname")
            info = link.get("linkinfo")
            kind = info.get("kind") if info is not None else None
            if kind == "veth" and is_host_name(name) and link.get("master") in (bridge, None):
                found.add(name)
        return found

    async def host_routes(self) -> set[str]:
        """The pod addresses for which the host has a route."""
        return {
            route.destination.removesuffix("/32")
            for route in await self.routes()
            if route.protocol == PROTOCOL and route.destination.endswith("/32")
        }

    # --- the device's own -----------------------------------------------------------------------

    async def routes(self) -> list[addresses.Route]:
        """The IPv4 routes of the main table."""
        return [
            _route(found) for found in await self._dump("route", family=socket.AF_INET, table=254)
        ]

    async def snapshot(self, bridge: str) -> addresses.Snapshot:
        """Interfaces, addresses and routes of the device, without those that are ours."""
        links = {}
        for link in await self._dump("link"):
            name = link.get("ifname")
            if name == bridge or is_host_name(name):
                continue
            info = link.get("linkinfo")
            links[int(link["index"])] = addresses.Link(
                index=int(link["index"]),
                name=name,
                kind=(info.get("kind") if info is not None else None) or "",
                up=link["state"] == "up",
                loopback=bool(link["flags"] & 0x8),
                mtu=link.get("mtu") or 1500,
            )
        held = [
            addresses.Address(found["index"], found.get("local") or found.get("address"))
            for found in await self._dump("addr", family=socket.AF_INET)
            if found["index"] in links and found["scope"] == 0
        ]
        return addresses.Snapshot(links, held, await self.routes())

    async def _addresses_of(self, index: int) -> set[str]:
        return {
            found.get("local") or found.get("address")
            for found in await self._dump("addr", family=socket.AF_INET, index=index)
            if found["index"] == index
        }

    async def _delete(self, name: str) -> None:
        index = await self.index(name)
        if index is not None:
            await self._ignoring_absence(self._ipr.link("del", index=index))

    async def _ignoring_absence(self, request: Any) -> None:
        try:
            await request
        except NetlinkError as error:
            if error.code not in (errno.ENODEV, errno.ESRCH, errno.ENOENT):
                raise


def _route(found: Any) -> addresses.Route:
    length = found["dst_len"]
    return addresses.Route(
        destination=f"{found.get('dst')}/{length}" if length else "default",
        interface=found.get("oif") or 0,
        metric=found.get("priority") or 0,
        source=found.get("prefsrc") or "",
        protocol=found["proto"],
        usable=found["type"] == 1,
    )


def is_host_name(name: str) -> bool:
    digits = name.removeprefix(PREFIX)
    return len(digits) == 11 and digits != name and all(c in "0123456789abcdef" for c in digits)


def _route_socket() -> socket.socket:
    # asyncio takes datagram sockets only; for netlink the two types are one.
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)


async def _configure_inside(inside: Any, ip: str, gateway: str) -> None:
    loopback, interface = 1, (await inside.link("get", ifname=POD_INTERFACE))[0]["index"]
    await inside.link("set", index=loopback, state="up")
    await inside.link("set", index=interface, state="up")
    await inside.addr("add", index=interface, address=ip, prefixlen=32)
    await inside.route("add", dst=f"{gateway}/32", oif=interface, scope=SCOPE_LINK)
    await inside.route("add", dst="default", gateway=gateway, oif=interface)


async def _shape(ipr: Any, interface: str, bits_per_second: int) -> None:
    """A token bucket (tc-tbf(8)) on what the interface sends; 0 leaves it alone."""
    if not bits_per_second:
        return
    rate = min(bits_per_second // 8, 0xFFFFFFFF)
    index = (await ipr.link("get", ifname=interface))[0]["index"]
    burst = min(max(MIN_BURST, int(rate * BURST_SECONDS)), MAX_BURST)
    await ipr.tc(
        "add", "tbf", index=index, handle=0x10000, rate=rate, burst=burst, latency=SHAPE_LATENCY
    )
