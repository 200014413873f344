"""Services, EndpointSlices and host ports of the store, as rules in the kernel.

One loop: watches say which Services have changed; the changed ones are rendered and go to the
kernel in one transaction. Nothing waits for a timer: the first change is carried out at once, and
what happens while its transaction runs makes up the next one. A transaction that the kernel refuses
is followed by a full one. The text is decided by `core.service_rules`; this module only reads the
store and remembers, for each EndpointSlice, the few values that matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from edgeorch.core import pod_facts, service_rules
from edgeorch.lib import backoff, metrics, tasks
from edgeorch.model import kinds, views
from edgeorch.net import conntrack, network, nft
from edgeorch.proxy import health_ports, reading
from edgeorch.store import objects, stored, watch

log = logging.getLogger(__name__)

SERVICES = kinds.SERVICE.resource
SLICES = kinds.ENDPOINT_SLICE.resource
PODS = kinds.POD.resource
SERVICE_NAME = "kubernetes.io/service-name"

RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=30.0)
REST = 5.0
"""Seconds of quiet after which emptied chains are deleted."""

SETTLE_LIMIT = 10.0
"""Seconds that rules of a former process are left alone at most."""

Name = tuple[str, str]
"""A Service: namespace, name."""

Owner = tuple[str, str, str]
"""Who has rules: resource (a Service, or a pod with host ports), namespace, name."""

Items = dict[service_rules.Key, service_rules.Item]


class _Slice(Struct, frozen=True):
    service: Name
    backends: reading.Backends


class ServiceProxy:
    """Owner of all rules of Services in our table."""

    def __init__(
        self,
        store: objects.Objects,
        net: network.Network,
        node_name: str,
        settled: asyncio.Event | None = None,
        pool: Container[str] = frozenset(),
    ) -> None:
        """`settled` is set once EndpointSlices have been made anew from adopted pods. `pool`: the
        addresses that the device takes when a load balancer has them."""
        self._pool = pool
        self._health_ports = health_ports.HealthPorts()
        self._checks: dict[Owner, tuple[int, health_ports.Check]] = {}
        self._settled = settled
        self._store = store
        self._net = net
        self._node_name = node_name
        self._slices: dict[Name, _Slice] = {}
        self._by_service: dict[Name, set[Name]] = {}
        self._items: dict[Owner, Items] = {}
        self._state = service_rules.State()
        self._dirty: set[Owner] = set()
        self._everything = True
        self._news = asyncio.Event()
        self._applying = False
        self._trouble: str | None = "rules of Services are not loaded yet"
        self._took = metrics.Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Seconds from knowing what has changed to the kernel having the rules of Services.",
        )
        self._failures = metrics.Counter(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "How often the rules of Services could not be changed.",
        )
        self._progress = asyncio.Event()
        """Set and replaced whenever the kernel has taken what was known."""
        net.on_table_lost(self._table_lost)

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._took, self._failures)

    def health(self) -> str | None:
        """Why Services may not be reachable, or None."""
        return self._trouble

    async def withdrawn(self, uid: str, ip: str) -> None:
        """Until no Service sends new connections to the pod at `ip`, in the kernel too.

        A pod may be stopped then without a request being lost. (As the last resort of a Service
        without other endpoints a terminating pod still gets some.)
        """
        while self._sends_to(ip):
            log.debug("Waiting for Services to let go of %s (%s)", ip, uid)
            await self._progress.wait()

    def _sends_to(self, ip: str) -> bool:
        named = any(
            endpoint.ip == ip and endpoint.ready and not endpoint.terminating
            for each in self._slices.values()
            for endpoints in each.backends.values()
            for endpoint in endpoints
        )
        return named or self._news.is_set() or self._applying

    async def run(self) -> None:
        """Follow the store for ever."""
        self._list(SLICES, self._slice_seen)
        self._list(SERVICES, self._service_seen)
        self._list(PODS, self._pod_seen)
        self._news.set()
        try:
            await self._run_loops()
        finally:
            self._health_ports.close()

    async def _run_loops(self) -> None:
        async with asyncio.TaskGroup() as group:
            for resource, follow in (
                (SERVICES, self._service_seen),
                (SLICES, self._slice_seen),
                (PODS, self._pod_seen),
            ):
                group.create_task(
                    tasks.supervise(
                        f"watch of {resource} for rules",
                        lambda r=resource, f=follow: self._follow(r, f),  # type: ignore[misc]
                    ),
                    name=f"proxy: {resource}",
                )
            group.create_task(tasks.supervise("rules of Services", self._apply_for_ever))

    # --- what the store says --------------------------------------------------------------------

    async def _follow(self, resource: str, seen: _Seen) -> None:
        """List, then watch; when the watch falls behind, list again."""
        while True:
            try:
                async with self._store.watch(resource) as changes:
                    self._list(resource, seen)
                    async for batch in changes:
                        for event in batch:
                            seen(event.stored, event.type == watch.DELETED)
            except watch.Expired:
                log.info("Watch of %s fell behind; listing again", resource)

    def _list(self, resource: str, seen: _Seen) -> None:
        found = self._store.list(resource).items
        if resource == SLICES:
            present = {item.key for item in found}
            for key in self._slices.keys() - present:
                self._drop_slice(key)
        else:
            present = {item.key for item in found}
            for owner in self._items:
                if owner[0] == resource and owner[1:] not in present:
                    self._mark(owner)
        for item in found:
            seen(item, False)

    def _service_seen(self, item: stored.Stored, deleted: bool) -> None:
        self._mark((SERVICES, *item.key))

    def _pod_seen(self, item: stored.Stored, deleted: bool) -> None:
        # Few pods have any: seen without decoding the others.
        owner = (PODS, *item.key)
        if owner in self._items or b'"hostPort"' in item.raw:
            self._mark(owner)

    def _slice_seen(self, item: stored.Stored, deleted: bool) -> None:
        self._drop_slice(item.key)
        if deleted:
            return
        view = item.view(views.EndpointSlice)
        owner = (view.metadata.labels or {}).get(SERVICE_NAME)
        if not owner:
            return
        service = (item.namespace, owner)
        self._slices[item.key] = _Slice(service, reading.backends(view, self._node_name))
        self._by_service.setdefault(service, set()).add(item.key)
        self._mark((SERVICES, *service))

    def _drop_slice(self, key: Name) -> None:
        former = self._slices.pop(key, None)
        if former is None:
            return
        names = self._by_service[former.service]
        names.discard(key)
        if not names:
            del self._by_service[former.service]
        self._mark((SERVICES, *former.service))

    def _mark(self, owner: Owner) -> None:
        self._dirty.add(owner)
        self._news.set()

    def _table_lost(self) -> None:
        self._everything = True
        self._news.set()

    # --- what the kernel is told ----------------------------------------------------------------

    async def _await_settled(self) -> None:
        """Leave the rules of a former process alone until it is known who is still there.

        EndpointSlices rest nowhere; rules rendered before they are back would refuse everybody.
        """
        if self._settled is None or self._settled.is_set():
            return
        try:
            names = await self._net.table.names() or {}
            if any(name.startswith("svc-") for name in names.get("chain", ())):
                async with asyncio.timeout(SETTLE_LIMIT):
                    await self._settled.wait()
        except (TimeoutError, nft.NftError) as error:
            log.warning("Loading rules of Services without having waited: %r", error)

    async def _apply_for_ever(self) -> None:
        await self._await_settled()
        failures = 0
        while True:
            await self._next(failures)
            self._applying = True
            try:
                with self._took.timed():
                    await self._apply()
            except nft.NftError as error:
                self._failures.add()
                self._trouble = f"cannot change the rules of Services: {error}"
                log.error("Cannot change the rules of Services: %s", error)
                self._everything = True
                failures += 1
            else:
                self._trouble = None
                failures = 0
            finally:
                self._applying = False
            if not failures:
                self._progress.set()
                self._progress = asyncio.Event()

    async def _next(self, failures: int) -> None:
        """Until there is something to do."""
        if failures:
            await asyncio.sleep(RETRY.delay(failures - 1))
            return
        while not self._news.is_set():
            stale = self._state.stale_chains or self._state.stale_sets
            try:
                async with asyncio.timeout(REST if stale else None):
                    await self._news.wait()
            except TimeoutError:
                await self._collect()

    async def _collect(self) -> None:
        state, text = service_rules.collect(self._state, self._net.layout)
        try:
            await self._net.table.apply(text)
        except nft.NftError as error:
            # They are empty and unreachable: harmless until the next full transaction.
            log.info("Cannot delete emptied chains: %s", error)
        self._state = state

    async def _apply(self) -> None:
        self._news.clear()
        dirty, self._dirty = self._dirty, set()
        former = {owner: self._items.get(owner, {}) for owner in dirty}
        changes = self._read(dirty)
        if self._everything:
            await self._apply_everything()
        else:
            state, text = service_rules.diff(self._state, changes, self._net.layout)
            if text:
                await self._apply_text(state, text)
        await self._forget_flows(former)
        await self._take_doors()

    async def _take_doors(self) -> None:
        """What Services want of the device beside rules: addresses of the pool, health checks."""
        ports = [port for items in self._items.values() for port in items.values()]
        balancers = {
            ip
            for port in ports
            if isinstance(port, service_rules.ServicePort)
            for ip in port.lb_ips
            if ip in self._pool
        }
        self._net.hold(frozenset(balancers))
        await self._health_ports.serve(dict(self._checks.values()))

    def _read(self, owners: Iterable[Owner]) -> dict[service_rules.Key, service_rules.Item | None]:
        """Bring `_items` up to date; what has changed, None for what is gone."""
        changes: dict[service_rules.Key, service_rules.Item | None] = {}
        for owner in owners:
            former = self._items.pop(owner, {})
            self._checks.pop(owner, None)
            wanted = {port.key: port for port in self._wanted(owner)}
            if wanted:
                self._items[owner] = wanted
            changes.update(dict.fromkeys(former.keys() - wanted.keys()))
            changes.update({k: port for k, port in wanted.items() if former.get(k) != port})
        return changes

    def _wanted(self, owner: Owner) -> Iterator[service_rules.Item]:
        name = owner[1:]
        found = self._store.find(owner[0], *name)
        if found is None:
            return
        if owner[0] == PODS:
            yield from reading.host_ports(found.view(pod_facts.PodFacts))
            return
        slices = [self._slices[key].backends for key in sorted(self._by_service.get(name, ()))]
        service = found.view(views.Service)
        check = reading.health_check(service, slices)
        if check is not None:
            self._checks[owner] = check
        yield from reading.service_ports(service, slices)

    async def _apply_text(self, state: service_rules.State, text: str) -> None:
        try:
            await self._net.table.apply(text)
        except nft.NftError as error:
            log.warning("Loading all rules of Services anew: %s", error)
            await self._apply_everything()
        else:
            self._state = state

    async def _apply_everything(self) -> None:
        """Over what is there if that works, else into a new table."""
        self._everything = False
        items = [port for ports in self._items.values() for port in ports.values()]
        layout, routed = self._net.layout, self._net.routed
        names = await self._net.table.names() or {}
        existing = service_rules.Existing(
            chains=names.get("chain", frozenset()),
            sets=names.get("set", frozenset()),
            maps=names.get("map", frozenset()),
        )
        state, text = service_rules.restart(layout, items, existing, routed)
        try:
            await self._net.table.apply(text)
        except nft.NftError as error:
            log.warning("Making table %s anew: %s", layout.name, error)
            state, text = service_rules.replace(layout, items, routed)
            await self._net.table.apply(text)
        self._state = state

    async def _forget_flows(self, former: dict[Owner, Items]) -> None:
        own = {*self._net.node_addresses.all, self._net.gateway, "127.0.0.1"}
        targets: _Targets = {}
        for owner, ports in former.items():
            now = self._items.get(owner, {})
            for key in ports.keys() | now.keys():
                before, after = ports.get(key), now.get(key)
                if before != after:
                    targets.update(udp_targets(before, after, own))
        if not targets:
            return

        def is_stale(flow: conntrack.Flow) -> bool:
            allowed = targets.get((flow.destination, flow.port))
            return allowed is not None and (flow.answerer, flow.answer_port) not in allowed

        try:
            count = await asyncio.to_thread(conntrack.delete, is_stale)
        except OSError as error:
            log.warning("Cannot forget stale UDP flows: %s", error)
        else:
            log.debug("Forgot %d stale UDP flows", count)


class _Seen(Protocol):
    def __call__(self, item: stored.Stored, deleted: bool, /) -> None: ...


_Targets = dict[tuple[str, int], frozenset[tuple[str, int]]]
"""Address and port of a Service, to those who may answer."""


def udp_targets(
    before: service_rules.Item | None,
    after: service_rules.Item | None,
    own_addresses: Iterable[str],
) -> _Targets:
    """Whose flows to look at when a port has changed, and which of them may stay."""
    allowed: frozenset[tuple[str, int]] = frozenset()
    if isinstance(after, service_rules.ServicePort):
        allowed = frozenset((e.ip, e.port) for e in service_rules.usable(after.endpoints))
    elif after is not None:
        allowed = frozenset({(after.pod_ip, after.pod_port)})
    found: _Targets = {}
    for port in (before, after):
        if port is None or port.protocol != "UDP":
            continue
        if isinstance(port, service_rules.HostPort):
            ips = [port.host_ip] if port.host_ip else own_addresses
            found.update({(ip, port.host_port): allowed for ip in ips})
            continue
        for ip in port.cluster_ips + port.external_ips + port.lb_ips:
            found[ip, port.port] = allowed
        if port.node_port:
            found.update({(ip, port.node_port): allowed for ip in own_addresses})
    return found
