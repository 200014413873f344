"""Services as nftables text: what one table holds, and how to get there from what it held.

Pure: values in, text out. `service_table` has the frame (hooks, maps, egress), `Parts` is what one
service port or host port adds to it, `diff` renders the change of some of them, `restart`
renders everything over whatever a former process left, keeping affinity and established flows.

Verdict maps keyed `address . protocol . port` keep a lookup as dear with a thousand Services as
with one. A destination is translated in the nat hooks only (first packet of a connection), so
established connections never pass here. Every endpoint of this device is a pod of ours or the
device itself, hence sources are kept and only these are masqueraded: a pod that reaches itself
(`hairpin`), 127.0.0.1 on its way to a pod, pods that leave the device, and translated packets that
leave the device again (`mark`). A Service without endpoints is refused at once, in the filter
hooks. Semantics: KEP-3866 (nftables kube-proxy), KEP-1669 (terminating endpoints).

Invariants: a map key that two Services claim (an external address) belongs to the one that sorts
first and passes to the next when it goes; a stale chain is emptied at once but deleted by a later
transaction, since not every kernel frees the references of a map element within the transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from edgeorch.core import service_table
from edgeorch.core.service_table import Layout

Key = tuple[str, ...]
"""Names a ServicePort or HostPort; sorts in the order of precedence."""

Element = tuple[str, str]
"""A map or set of the table, and a key in it."""


class Endpoint(Struct, frozen=True):
    """One backend of a service port, with the conditions of its EndpointSlice."""

    ip: str
    port: int
    node_local: bool = True
    ready: bool = True
    serving: bool = True
    terminating: bool = False


class ServicePort(Struct, frozen=True):
    """One port of a Service and all addresses and ports that lead to it."""

    namespace: str
    name: str
    port_name: str
    protocol: str
    port: int
    cluster_ips: tuple[str, ...] = ()
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    lb_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    """Who may come to `lb_ips` from outside the device; empty: everybody."""
    affinity_seconds: int = 0
    internal_local: bool = False
    external_local: bool = False
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def key(self) -> Key:
        return ("service", self.namespace, self.name, self.port_name, self.protocol)

    @property
    def path(self) -> str:
        """Unique within the table and readable in a listing: ns/name/protocol[/port name]."""
        parts = [self.namespace, self.name, self.l4proto, self.port_name]
        return "/".join(part for part in parts if part)

    @property
    def l4proto(self) -> str:
        return self.protocol.lower()


class HostPort(Struct, frozen=True):
    """A container's hostPort. An empty `host_ip` means every address of the device."""

    uid: str
    protocol: str
    host_port: int
    pod_ip: str
    pod_port: int
    host_ip: str = ""

    @property
    def key(self) -> Key:
        return ("hostport", self.uid, self.host_ip, self.protocol, str(self.host_port))


Item = ServicePort | HostPort


class Parts(Struct, frozen=True):
    """What one Item adds to the table."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    elements: Mapping[Element, str] = field(default_factory=dict)
    """The value behind the key; "" in a set."""


class State(Struct, frozen=True):
    """What the table holds. A value: `diff` gives the next one and leaves this one be."""

    parts: Mapping[Key, Parts] = field(default_factory=dict)
    claims: Mapping[Element, Mapping[Key, str]] = field(default_factory=dict)
    stale_chains: frozenset[str] = frozenset()
    stale_sets: frozenset[str] = frozenset()


class Existing(Struct, frozen=True):
    """Names found in the kernel's table."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()


def usable(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready ones, else those that still serve while they terminate.

    Who terminates is ready only where readiness does not count (publishNotReadyAddresses).
    """
    found = tuple(endpoints)
    ready = tuple(e for e in found if e.ready)
    return ready or tuple(e for e in found if e.serving and e.terminating)


def render_item(item: Item, layout: Layout) -> Parts:
    return (
        _service_parts(item, layout)
        if isinstance(item, ServicePort)
        else _host_port_parts(item, layout)
    )


def _service_parts(port: ServicePort, layout: Layout) -> Parts:
    version = layout.version
    endpoints = tuple(e for e in port.endpoints if _version(e.ip) == version)
    everyone = usable(endpoints)
    nearby = usable(e for e in endpoints if e.node_local)
    internal = nearby if port.internal_local else everyone
    external = nearby if port.external_local else everyone
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    for role, chosen in (("svc", everyone), ("int", internal), ("ext", external)):
        if role == "svc" or (chosen and chosen != everyone):
            _add_balancer(chains, sets, port, role, chosen, layout)
    if external != everyone and everyone:
        # Traffic that starts on the device reaches every endpoint whatever the policy says.
        chains[f"ext-{port.path}"] = (
            f"{layout.family} saddr {layout.pod_cidr} goto svc-{port.path}",
            f"fib saddr type local goto svc-{port.path}",
            *chains.get(f"ext-{port.path}", ()),
        )
    inner = "svc" if internal == everyone else "int"
    outer = "svc" if external == everyone else "ext"
    elements = _service_elements(
        port,
        version,
        inner=f"goto {inner}-{port.path}" if internal else "",
        outer=f"goto {outer}-{port.path}" if everyone else "",
        # Kubernetes refuses when nobody serves and drops when only others may.
        unserved_inner="" if internal else ("drop" if everyone else service_table.REFUSE),
        unserved_outer="" if external else ("drop" if everyone else service_table.REFUSE),
    )
    elements |= _hairpins({e.ip for e in everyone + nearby}, layout)
    _add_firewall(chains, elements, port, layout)
    return Parts(chains, sets, elements)


def _add_firewall(
    chains: dict[str, tuple[str, ...]],
    elements: dict[Element, str],
    port: ServicePort,
    layout: Layout,
) -> None:
    """loadBalancerSourceRanges: silence for everybody else, as packet filters of clouds have it."""
    ranges = [each for each in port.source_ranges if _network_version(each) == layout.version]
    ips = [ip for ip in port.lb_ips if _version(ip) == layout.version]
    if not port.source_ranges or not ips:
        return
    allowed = f"{layout.family} saddr {{ {', '.join(ranges)} }} return"
    chains[f"fw-{port.path}"] = (*([allowed] if ranges else []), "drop")
    for ip in ips:
        key = f"{ip} . {port.l4proto} . {port.port}"
        elements[service_table.FIREWALL_IPS, key] = f"goto fw-{port.path}"


def _service_elements(
    port: ServicePort,
    version: int,
    *,
    inner: str,
    outer: str,
    unserved_inner: str,
    unserved_outer: str,
) -> dict[Element, str]:
    suffix = f"{port.l4proto} . {port.port}"
    found: dict[Element, str] = {}
    addresses = [(ip, outer, unserved_outer) for ip in port.external_ips + port.lb_ips]
    addresses += [(ip, inner, unserved_inner) for ip in port.cluster_ips]
    for ip, served, unserved in addresses:
        if _version(ip) != version:
            continue
        if served:
            found[service_table.SERVICE_IPS, f"{ip} . {suffix}"] = served
        if unserved:
            found[service_table.UNSERVED_IPS, f"{ip} . {suffix}"] = unserved
    if port.node_port:
        key = f"{port.l4proto} . {port.node_port}"
        if outer:
            found[service_table.NODE_PORTS, key] = outer
        if unserved_outer:
            found[service_table.UNSERVED_PORTS, key] = unserved_outer
    return found


def _add_balancer(
    chains: dict[str, tuple[str, ...]],
    sets: dict[str, str],
    port: ServicePort,
    role: str,
    endpoints: tuple[Endpoint, ...],
    layout: Layout,
) -> None:
    """The chain that picks an endpoint; with affinity one more chain and set per endpoint."""
    if not endpoints:
        return
    ordered = sorted(endpoints, key=lambda e: (e.ip, e.port))
    mark = f"meta mark set meta mark | {layout.mark:#x}"
    if not port.affinity_seconds:
        chains[f"{role}-{port.path}"] = (mark, _translate(port.l4proto, ordered, layout))
        return
    remembered, picks = [], []
    for index, endpoint in enumerate(ordered):
        tail = f"{port.path}/{_name(endpoint.ip)}/{endpoint.port}"
        chain = f"ep-{tail}"
        clients = f"aff-{port.affinity_seconds}s-{tail}"
        sets[clients] = (
            f"{{ type {layout.address_type}; flags dynamic,timeout; "
            f"timeout {port.affinity_seconds}s; }}"
        )
        chains[chain] = (
            mark,
            f"update @{clients} {{ {layout.family} saddr }}",
            _translate(port.l4proto, [endpoint], layout),
        )
        remembered.append(f"{layout.family} saddr @{clients} goto {chain}")
        picks.append(f"{index} : goto {chain}")
    pick = f"numgen random mod {len(picks)} vmap {{ {', '.join(picks)} }}"
    chains[f"{role}-{port.path}"] = (*remembered, pick)


def _translate(l4proto: str, endpoints: list[Endpoint], layout: Layout) -> str:
    if len(endpoints) == 1:
        only = endpoints[0]
        address = only.ip if layout.version == 4 else f"[{only.ip}]"
        return f"meta l4proto {l4proto} dnat to {address}:{only.port}"
    targets = ", ".join(f"{i} : {e.ip} . {e.port}" for i, e in enumerate(endpoints))
    count = len(endpoints)
    return (
        f"meta l4proto {l4proto} dnat {layout.family} to "
        f"numgen random mod {count} map {{ {targets} }}"
    )


def _host_port_parts(port: HostPort, layout: Layout) -> Parts:
    if _version(port.pod_ip) != layout.version:
        return Parts()
    suffix = f"{port.protocol.lower()} . {port.host_port}"
    any_address = port.host_ip in ("", "0.0.0.0", "::")
    element = (
        (service_table.HOST_PORTS, suffix)
        if any_address
        else (service_table.HOST_IP_PORTS, f"{port.host_ip} . {suffix}")
    )
    elements = {element: f"{port.pod_ip} . {port.pod_port}"}
    return Parts(elements=elements | _hairpins({port.pod_ip}, layout))


def _hairpins(ips: set[str], layout: Layout) -> dict[Element, str]:
    pods = ipaddress.ip_network(layout.pod_cidr)
    return {
        (service_table.HAIRPIN, f"{ip} . {ip}"): ""
        for ip in ips
        if ipaddress.ip_address(ip) in pods
    }


def _version(ip: str) -> int:
    return ipaddress.ip_address(ip).version


def _network_version(cidr: str) -> int:
    return ipaddress.ip_network(cidr, strict=False).version


def _name(ip: str) -> str:
    """An address as part of an nft identifier, where a colon may not stand."""
    return ip.replace(":", ".")


def restart(
    layout: Layout,
    items: Iterable[Item],
    existing: Existing,
    routed: Iterable[str] = (),
) -> tuple[State, str]:
    """Everything, over what is there; affinity sets that are still wanted keep their clients.

    Fails in the kernel when a declaration of a former version differs: then `replace`.
    """
    wanted = {item.key: item for item in items}
    state, text = diff(State(), wanted, layout)
    chains = frozenset(name for parts in state.parts.values() for name in parts.chains)
    sets = frozenset(name for parts in state.parts.values() for name in parts.sets)
    stale_chains = existing.chains - chains - service_table.chains(layout).keys()
    lines = [f"flush chain {layout.name} {chain}" for chain in sorted(existing.chains)]
    known = existing.maps & set(service_table.MAPS)
    lines += [f"flush map {layout.name} {name}" for name in sorted(known)]
    if service_table.HAIRPIN in existing.sets:
        lines.append(f"flush set {layout.name} {service_table.HAIRPIN}")
    left = State(
        state.parts,
        state.claims,
        stale_chains,
        existing.sets - sets - {service_table.HAIRPIN, service_table.ROUTED},
    )
    return left, "".join(f"{line}\n" for line in lines) + service_table.base(layout, routed) + text


def replace(layout: Layout, items: Iterable[Item], routed: Iterable[str] = ()) -> tuple[State, str]:
    """Everything into a new table, in one transaction: no packet sees neither."""
    state, text = diff(State(), {item.key: item for item in items}, layout)
    return state, service_table.remove(layout) + service_table.base(layout, routed) + text


def collect(state: State, layout: Layout) -> tuple[State, str]:
    """Delete what an earlier transaction left empty."""
    lines = [f"delete chain {layout.name} {name}" for name in sorted(state.stale_chains)]
    lines += [f"delete set {layout.name} {name}" for name in sorted(state.stale_sets)]
    return State(state.parts, state.claims), "".join(f"{line}\n" for line in lines)


def diff(state: State, changes: Mapping[Key, Item | None], layout: Layout) -> tuple[State, str]:
    """The transaction for `changes` (None removes), "" when there is nothing to do.

    Costs as much as what changes; Services that are not named are not looked at.
    """
    parts = dict(state.parts)
    change = _Change(layout, state)
    for key, item in sorted(changes.items()):
        old = parts.pop(key, _NOTHING)
        new = render_item(item, layout) if item is not None else _NOTHING
        if item is not None:
            parts[key] = new
        if old != new:
            change.parts(key, old, new)
    return change.finish(parts)


_NOTHING = Parts()


class _Change:
    """Gathers the statements of one transaction in the order that nft needs."""

    def __init__(self, layout: Layout, state: State) -> None:
        self._table = layout.name
        self._before = state.claims
        self._claims = dict(state.claims)
        self._touched: dict[Element, None] = {}
        self._declared: list[str] = []
        self._rules: list[str] = []
        self._emptied: list[str] = []
        self._stale_chains = set(state.stale_chains)
        self._stale_sets = set(state.stale_sets)

    def parts(self, key: Key, old: Parts, new: Parts) -> None:
        for name in old.sets.keys() - new.sets.keys():
            self._stale_sets.add(name)
        for name in new.sets.keys() - old.sets.keys():
            self._stale_sets.discard(name)
            self._declared.append(f"add set {self._table} {name} {new.sets[name]}")
        self._chains(old.chains, new.chains)
        for element in old.elements.keys() | new.elements.keys():
            if old.elements.get(element) != new.elements.get(element):
                self._claim(element, key, new.elements.get(element))

    def _chains(
        self, old: Mapping[str, tuple[str, ...]], new: Mapping[str, tuple[str, ...]]
    ) -> None:
        for name in old.keys() - new.keys():
            self._stale_chains.add(name)
            self._emptied.append(f"flush chain {self._table} {name}")
        for name, rules in new.items():
            if old.get(name) == rules:
                continue
            self._stale_chains.discard(name)
            if name not in old:
                self._declared.append(f"add chain {self._table} {name}")
            self._rules.append(f"flush chain {self._table} {name}")
            self._rules += [f"add rule {self._table} {name} {rule}" for rule in rules]

    def _claim(self, element: Element, key: Key, value: str | None) -> None:
        self._touched[element] = None
        claimants = dict(self._claims.get(element, {}))
        claimants.pop(key, None)
        if value is not None:
            claimants[key] = value
        if claimants:
            self._claims[element] = claimants
        else:
            self._claims.pop(element, None)

    def finish(self, parts: Mapping[Key, Parts]) -> tuple[State, str]:
        removed: dict[str, list[str]] = {}
        added: dict[str, list[str]] = {}
        for element in sorted(self._touched):
            before, after = _owner(self._before, element), _owner(self._claims, element)
            name, key = element
            if before is not None and before != after:
                removed.setdefault(name, []).append(key)
            if after is not None and before != after:
                added.setdefault(name, []).append(f"{key} : {after}" if after else key)
        lines = self._declared + self._rules
        lines += self._element_lines("delete", removed) + self._element_lines("add", added)
        lines += self._emptied
        after_state = State(
            parts, self._claims, frozenset(self._stale_chains), frozenset(self._stale_sets)
        )
        return after_state, "".join(f"{line}\n" for line in lines)

    def _element_lines(self, verb: str, elements: Mapping[str, list[str]]) -> list[str]:
        return [
            f"{verb} element {self._table} {name} {{ {', '.join(listed)} }}"
            for name, listed in elements.items()
        ]


def _owner(claims: Mapping[Element, Mapping[Key, str]], element: Element) -> str | None:
    claimants = claims.get(element)
    return claimants[min(claimants)] if claimants else None
