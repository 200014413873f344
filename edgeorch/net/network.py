"""The device's pod network as one thing: what the agent and the proxy hold.

`Network` owns the bridge, the pods' namespaces and addresses, the routes of the pod and Service
ranges, the frame of the nftables table, and the switches that all this needs. It compares and mends
(`run`): a bridge that was deleted, a table that was flushed, an uplink that came or changed its
address. No pod is restarted for any of that.

Invariants: `<run_dir>/sandboxes/UID.json` is written when a pod's network is complete and removed
before it is taken down, so a file means a whole sandbox; everything else of a uid (pin, link,
route) can be found without the file and is removed by `sweep` or by the next `attach`.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import pathlib
from collections.abc import AsyncIterator, Callable

from msgspec import Struct

from edgeorch.core import ipam, packet_filters, pod_bandwidth, service_table
from edgeorch.lib import backoff, json, metrics
from edgeorch.net import addresses, announce, figures, files, links, netns, nft, sysctl
from edgeorch.net.rtnetlink import NetlinkError

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds in which the changes of one cause arrive (an interface, its address, its routes)."""

RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=30.0)

LAST_ADDRESS = "last-address"
"""Beside the records: what was given out last."""


class NetworkError(Exception):
    """The network cannot be used or a pod cannot be attached; the text says why and the fix."""


class Settings(Struct, frozen=True):
    run_dir: pathlib.Path
    pod_cidr: str = "10.42.0.0/24"
    service_cidr: str = "10.43.0.0/16"
    bridge: str = "edgeorch0"
    node_address: str = ""
    table: str = "edgeorch"


class Sandbox(Struct, frozen=True):
    """A pod's network."""

    uid: str
    pod_key: str
    """namespace/name."""
    ip: str
    netns_path: str
    host_ifname: str
    bandwidth: pod_bandwidth.Bandwidth = pod_bandwidth.UNLIMITED


class Network:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.layout = service_table.Layout(
            pod_cidr=settings.pod_cidr,
            service_cidr=settings.service_cidr,
            bridge=settings.bridge,
            table=settings.table,
        )
        self.table = nft.Table(self.layout.family, self.layout.table)
        self.gateway = ipam.gateway(ipaddress.ip_network(settings.pod_cidr))
        self._pool = ipam.AddressPool(settings.pod_cidr, reserved=[self.gateway])
        self._announcer = announce.Announcer()
        self._pins = settings.run_dir / "netns"
        self._records = settings.run_dir / "sandboxes"
        self._links = links.Links()
        self._switches: sysctl.Changed | None = None
        self._monitor = addresses.Monitor(
            addresses.Own(settings.bridge, links.PROTOCOL, links.is_host_name), self._wake_up
        )
        self._watch = nft.Watch(settings.table, self._table_gone)
        self._wake = asyncio.Event()
        self._bridge = 0
        self._addresses = addresses.NodeAddresses()
        self._sandboxes: dict[str, Sandbox] = {}
        self._blocked: tuple[str, ...] = ()
        self._extra: frozenset[str] | None = None
        self._routed: frozenset[str] = frozenset()
        self._trouble: str | None = "not started"
        self._recovered = False
        self._apart = False
        """Some pod's link may not be on the bridge."""
        self._table_listeners: list[Callable[[], None]] = []
        self._health_listeners: list[Callable[[], None]] = []
        self._address_listeners: list[Callable[[addresses.NodeAddresses], None]] = []
        self._changing = asyncio.Lock()
        self._figures = figures.Figures(lambda: len(self._sandboxes))

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make or adopt everything. What fails is told by `health` and tried again by `run`.

        Raises OSError only when the kernel gives no netlink socket at all.
        """
        self._links.open()
        self._monitor.start()
        self._watch.start()
        await self._adopt()
        await self._ensure()

    async def run(self) -> None:
        """Mend what others break and follow the device's addresses, for ever."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(RETRY.delay(failures) if self._trouble else None):
                    await self._wake.wait()
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._wake.clear()
            await self._ensure()
            failures = failures + 1 if self._trouble else 0

    async def close(self) -> None:
        """Let go of the sockets; pods, bridge and rules stay and go on working."""
        self._monitor.close()
        self._watch.close()
        self._links.close()

    async def uninstall(self) -> None:
        """Remove every trace, also of pods that are still there."""
        await self.sweep(set())
        await self.table.delete()
        await self._links.remove_bridge(self._settings.bridge)
        await self._links.remove_ranges(self._settings.pod_cidr)
        await asyncio.to_thread(self._remove_files)

    def _remove_files(self) -> None:
        self._remembered_switches().restore()
        netns.dismantle(self._pins)
        for record in self._records.glob("*"):
            record.unlink()
        if self._records.exists():
            self._records.rmdir()

    # --- what others ask ------------------------------------------------------------------------

    def health(self) -> str | None:
        """Why the network cannot be used, or None."""
        return self._trouble

    @property
    def blocked(self) -> tuple[str, ...]:
        """What somebody else's packet filter stops of pods, each with its fix."""
        return self._blocked

    @property
    def node_addresses(self) -> addresses.NodeAddresses:
        return self._addresses

    @property
    def routed(self) -> frozenset[str]:
        """Interfaces on which forwarding is on only because of us."""
        return self._routed

    def on_addresses(self, listener: Callable[[addresses.NodeAddresses], None]) -> None:
        """Called with the device's addresses when they are known, and whenever they change."""
        self._address_listeners.append(listener)

    def on_health(self, listener: Callable[[], None]) -> None:
        """Called whenever `health` or `blocked` has another answer."""
        self._health_listeners.append(listener)

    def on_table_lost(self, listener: Callable[[], None]) -> None:
        """Called when the table had to be made anew: rules of Services are to be put back."""
        self._table_listeners.append(listener)

    def measure(self, registry: metrics.Registry) -> None:
        self._figures.measure(registry)
        self.table.measure(registry)

    def sandboxes(self) -> dict[str, Sandbox]:
        """By pod uid; those of a former process are in it once `start` is through."""
        return dict(self._sandboxes)

    def hold(self, extra: frozenset[str]) -> None:
        """The device has these addresses too from now on, and says so to its neighbours."""
        if extra != self._extra:
            self._extra = extra
            self._wake.set()

    # --- pods -----------------------------------------------------------------------------------

    async def attach(
        self,
        uid: str,
        pod_key: str,
        bandwidth: pod_bandwidth.Bandwidth = pod_bandwidth.UNLIMITED,
    ) -> Sandbox:
        """The pod's network; what an interrupted attach left is cleared away first.

        Raises NetworkError.
        """
        known = self._sandboxes.get(uid)
        if known is not None:
            return known
        with self._figures.counted("attach"):
            return await self._attach(uid, pod_key, bandwidth)

    async def _attach(self, uid: str, pod_key: str, bandwidth: pod_bandwidth.Bandwidth) -> Sandbox:
        if self._trouble is not None:
            raise NetworkError(f"cannot attach {pod_key}: {self._trouble}")
        ip = self._take_address(pod_key)
        pin = self._pins / uid
        sandbox = Sandbox(uid, pod_key, ip, str(pin), links.host_name(uid), bandwidth)
        try:
            await self._links.remove_link(sandbox.host_ifname)
            await asyncio.to_thread(netns.create, pin)
            await self._connect(sandbox)
            await asyncio.to_thread(self._write_record, sandbox)
        except BaseException as error:
            await asyncio.shield(self._undo(sandbox))
            if isinstance(error, (OSError, NetlinkError)):
                raise NetworkError(f"cannot attach {pod_key}: {error}") from error
            raise
        self._sandboxes[uid] = sandbox
        log.debug("attached %s as %s", pod_key, ip)
        return sandbox

    def _take_address(self, pod_key: str) -> str:
        try:
            return self._pool.take_next()
        except ipam.Exhausted:
            raise NetworkError(
                f"cannot attach {pod_key}: no address is free in network.pod_cidr "
                f"{self._settings.pod_cidr}"
            ) from None

    async def _connect(self, sandbox: Sandbox) -> None:
        await self._links.add_pod(
            uid=sandbox.uid,
            pin=pathlib.Path(sandbox.netns_path),
            bridge=self._bridge,
            ip=sandbox.ip,
            gateway=self.gateway,
            mtu=self._addresses.mtu,
            bandwidth=sandbox.bandwidth,
        )

    async def _undo(self, sandbox: Sandbox) -> None:
        await self._take_down(sandbox.uid, sandbox.ip)
        self._pool.release(sandbox.ip)

    async def detach(self, uid: str) -> None:
        """Remove the pod's network, whatever there is of it. Repeatable. Raises NetworkError."""
        sandbox = self._sandboxes.get(uid)
        try:
            with self._figures.counted("detach"):
                await self._take_down(uid, sandbox.ip if sandbox is not None else "")
        except (OSError, NetlinkError) as error:
            raise NetworkError(f"cannot detach {uid}: {error}") from error
        if sandbox is not None and self._sandboxes.pop(uid, None) is not None:
            self._pool.release(sandbox.ip)

    async def _take_down(self, uid: str, ip: str) -> None:
        record = self._records / f"{uid}.json"
        await asyncio.to_thread(record.unlink, missing_ok=True)
        await self._links.remove_pod(uid, ip)
        await asyncio.to_thread(netns.remove, self._pins / uid)

    async def sweep(self, known_uids: set[str]) -> None:
        """Remove all that belongs to no pod in `known_uids`."""
        for uid in await asyncio.to_thread(self._uids_on_disk) | self._sandboxes.keys():
            if uid not in known_uids:
                await self.detach(uid)
        wanted = {links.host_name(uid) for uid in known_uids}
        for name in await self._links.pod_link_names(self._bridge) - wanted:
            await self._links.remove_link(name)
        for ip in await self._links.host_routes():
            # A pod that is being attached has taken its address before it has its route.
            if not self._pool.is_taken(ip):
                await self._links.remove_host_route(ip)

    def _uids_on_disk(self) -> set[str]:
        pins = {pin.name for pin in self._pins.glob("*")}
        return pins | {record.stem for record in self._records.glob("*.json")}

    # --- comparing and mending ------------------------------------------------------------------

    def _wake_up(self) -> None:
        self._wake.set()

    def _table_gone(self) -> None:
        self._wake.set()

    async def _ensure(self) -> None:
        async with self._changing:
            try:
                await self._mend()
            except (NetworkError, links.LinkClash, nft.NftError, NetlinkError, OSError) as error:
                told = str(error)
                if told != self._trouble:
                    log.error("Network is not usable: %s", told)
                self._set_trouble(told)
            else:
                if self._trouble not in (None, "not started"):
                    log.info("Network is usable again")
                self._set_trouble(None)

    def _set_trouble(self, told: str | None) -> None:
        if told != self._trouble:
            self._trouble = told
            self._tell_health()

    def _tell_health(self) -> None:
        for listener in self._health_listeners:
            listener()

    async def _mend(self) -> None:
        await asyncio.to_thread(netns.prepare, self._pins)
        snapshot = await self._links.snapshot(self._settings.bridge)
        found = addresses.choose(snapshot, self._settings.node_address, str(self.gateway))
        await self._mend_bridge(snapshot, found.mtu)
        await self._hold_extra(found.uplinks)
        await asyncio.to_thread(self._open_forwarding, found.uplinks)
        await self._mend_table()
        self._recovered = True
        self._tell_addresses(found)
        await self._look_at_others()

    async def _look_at_others(self) -> None:
        """Other people's packet filters are theirs; that they stop pods is said once."""
        try:
            ruleset = json.decode(await nft.run("-j", "-t", "list", "ruleset"))["nftables"]
        except nft.NftError as error:
            log.info("Cannot look at other packet filters: %s", error)
            return
        settings = self._settings
        told = tuple(
            packet_filters.blocked(ruleset, settings.bridge, settings.table, settings.pod_cidr)
        )
        for text in told:
            if text not in self._blocked:
                log.error("Another packet filter: %s", text)
        if told != self._blocked:
            self._blocked = told
            self._tell_health()

    async def _mend_bridge(self, snapshot: addresses.Snapshot, mtu: int) -> None:
        """The bridge with its ranges; when it had to be made again, the pods' links with it."""
        settings = self._settings
        sound = self._bridge and await self._links.bridge_is_sound(settings.bridge, self.gateway)
        if not sound:
            self._refuse_overlap(snapshot)
            if self._bridge:
                log.warning("Bridge %s was damaged; making it again", settings.bridge)
            self._bridge = await self._links.ensure_bridge(settings.bridge, self.gateway, mtu)
            await asyncio.to_thread(sysctl.set_bridge, settings.bridge, self._remembered_switches())
        await self._links.ensure_ranges(
            self._bridge, settings.pod_cidr, settings.service_cidr, self.gateway
        )
        if not sound:
            self._apart = True
        if self._apart:
            for sandbox in self._sandboxes.values():
                await self._reconnect(sandbox)
            self._apart = False

    async def _hold_extra(self, uplinks: tuple[str, ...]) -> None:
        """Nothing is taken away before it is known which are wanted."""
        if self._extra is None:
            return
        added = await self._links.hold_addresses(self._bridge, self.gateway, self._extra)
        if added:
            log.info("Took the addresses %s", ", ".join(sorted(added)))
        await asyncio.to_thread(self._announcer.tell, uplinks, self._extra)

    def _refuse_overlap(self, snapshot: addresses.Snapshot) -> None:
        for key in ("pod_cidr", "service_cidr"):
            cidr = getattr(self._settings, key)
            other = addresses.overlapping(snapshot, cidr, links.PROTOCOL)
            if other is None:
                continue
            link = snapshot.links.get(other.interface)
            where = f" on {link.name}" if link is not None else ""
            raise NetworkError(
                f"network.{key} {cidr} overlaps the route {other.destination}{where}: "
                f"choose another range for network.{key}"
            )

    def _open_forwarding(self, uplinks: tuple[str, ...]) -> None:
        """Packets from and to pods are forwarded; others are not if they were not before."""
        switches = self._remembered_switches()
        if sysctl.read("ipv4/ip_forward") == "0":
            for interface in uplinks:
                if switches.set(f"ipv4/conf/{interface}/forwarding", "1"):
                    log.info("Switched on forwarding on %s, for pods only", interface)
        opened = {name.split("/")[2] for name in switches.names() if name.endswith("/forwarding")}
        # An administrator who makes the device a router meanwhile is not held back.
        routing = sysctl.read("ipv4/ip_forward") != "0"
        self._routed = frozenset() if routing else frozenset(opened)

    def _remembered_switches(self) -> sysctl.Changed:
        if self._switches is None:
            self._switches = sysctl.Changed(self._settings.run_dir / "sysctls.json")
        return self._switches

    async def _mend_table(self) -> None:
        """The frame of the table. Rules of Services in it are left as they are."""
        missing = await self.table.names() is None
        try:
            await self.table.apply(service_table.base(self.layout, self._routed, create=missing))
        except nft.NftError as error:
            # It went this moment, or a former version declared something otherwise, which cannot
            # be changed in place.
            log.warning("Making table %s anew: %s", self.layout.name, error)
            await self.table.apply(
                service_table.remove(self.layout) + service_table.base(self.layout, self._routed)
            )
            missing = True
        if missing and self._recovered:
            log.warning("Table %s was gone; put back", self.layout.name)
        if missing:
            for listener in self._table_listeners:
                listener()

    def _tell_addresses(self, found: addresses.NodeAddresses) -> None:
        if found == self._addresses:
            return
        self._addresses = found
        log.info("Node addresses: %s", ", ".join(found.all) or "none")
        for listener in self._address_listeners:
            listener(found)

    # --- after a restart of the process ---------------------------------------------------------

    async def _adopt(self) -> None:
        """Take over the sandboxes of a former process; drop those whose namespace is gone.

        Before anything that may fail: trouble of the network must not look like pods without one.
        """
        for sandbox in await asyncio.to_thread(self._read_records):
            if await asyncio.to_thread(netns.is_pinned, pathlib.Path(sandbox.netns_path)):
                try:
                    self._pool.reserve(sandbox.ip)
                except (ipam.InUse, ipam.OutOfRange, ValueError) as error:
                    log.warning("Dropping the network of %s: %s", sandbox.pod_key, error)
                else:
                    self._sandboxes[sandbox.uid] = sandbox
                    self._pool.advance_past(sandbox.ip)
                    continue
            try:
                await self._take_down(sandbox.uid, sandbox.ip)
            except (OSError, NetlinkError) as error:  # the agent sweeps what is left
                log.warning("Cannot remove the network of %s: %s", sandbox.pod_key, error)
        await asyncio.to_thread(self._go_on_after_last)

    async def _reconnect(self, sandbox: Sandbox) -> None:
        """See to it that the pod's link is on the bridge; a link that is gone is made again."""
        try:
            await self._links.connect_pod(
                sandbox.host_ifname, self._bridge, sandbox.ip, self.gateway
            )
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise
            log.warning("Making the link of %s again", sandbox.pod_key)
            await self._connect(sandbox)

    def _read_records(self) -> list[Sandbox]:
        """Oldest first, so that addresses go on being handed out after the newest."""
        found = []
        for path in sorted(self._records.glob("*.json"), key=lambda p: p.stat().st_mtime_ns):
            try:
                found.append(json.convert(json.decode(path.read_bytes()), Sandbox))
            except (json.DecodeError, json.ValidationError) as error:
                log.warning("Dropping %s: %s", path, error)
                path.unlink()
        return found

    def _write_record(self, sandbox: Sandbox) -> None:
        path = self._records / f"{sandbox.uid}.json"
        files.write_atomically(path, json.encode(sandbox))
        files.write_atomically(self._records / LAST_ADDRESS, sandbox.ip.encode())

    def _go_on_after_last(self) -> None:
        """The address given out last rests, even if its pod went before the former process did."""
        try:
            self._pool.advance_past((self._records / LAST_ADDRESS).read_text())
        except (OSError, ValueError) as error:
            log.debug("It is not known which address was given out last: %s", error)


async def changes(network: Network) -> AsyncIterator[addresses.NodeAddresses]:
    """The device's addresses now and after every change, newest only."""
    news = asyncio.Event()
    network.on_addresses(lambda _: news.set())
    while True:
        news.clear()
        yield network.node_addresses
        await news.wait()
