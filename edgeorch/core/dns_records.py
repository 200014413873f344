"""What one Service has in DNS: names beneath its own, and who its addresses are.

As the Kubernetes DNS specification 1.1.0 (kubernetes/dns, docs/specification.md) has it, and where
that leaves room, as CoreDNS does: an endpoint without a hostname is named by its address
(`10-42-0-7`), endpoints of a Service with a ClusterIP have names too, SRV records of all ports are
also found under the Service's own name. Pure: views in, an immutable `ServiceRecords` out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from edgeorch.model import views
from edgeorch.wire import dns

Key = tuple[str, str]
"""A Service: namespace, name."""

RRsets = Mapping[int, tuple[bytes, ...]]
"""By record type, the rdata of each record."""

_ADDRESS_LABEL = re.compile(r"[0-9a-f-]{2,39}", re.ASCII)

_WEIGHTS = 100
"""Shared by the SRV records of one name."""


class ServiceRecords(Struct, frozen=True):
    """Nobody changes one; a change of the Service or its endpoints makes another."""

    nodes: Mapping[bytes, RRsets] = field(default_factory=dict)
    """By the labels in front of the Service's name: in wire form, lower case, without the root. An
    empty one is a name that has only names beneath it."""
    pointers: Mapping[bytes, tuple[dns.Name, ...]] = field(default_factory=dict)
    """By packed address, the names that it has through this Service."""


def service_name(key: Key, domain: dns.Name) -> dns.Name:
    """Raises Malformed."""
    return dns.join([key[1].encode(), key[0].encode(), b"svc"])[:-1] + domain


def service_records(
    service: views.Service, slices: Sequence[views.EndpointSlice], domain: dns.Name
) -> ServiceRecords:
    """`domain`: the cluster's, as a name in lower case. Raises Malformed."""
    spec = service.spec
    own = service_name((service.metadata.namespace, service.metadata.name), domain)
    if spec.type == "ExternalName":
        return ServiceRecords({b"": {dns.CNAME: (dns.name(spec.external_name.lower()),)}})
    made = _Nodes(own)
    if spec.cluster_ip == "None":
        _add_headless(made, service, slices)
    elif spec.cluster_ip:
        _add_cluster_ip(made, service, slices)
    return made.finished()


class _Nodes:
    """Gathers records until they are all there."""

    def __init__(self, own: dns.Name) -> None:
        self.own = own
        self._nodes: dict[bytes, dict[int, dict[bytes, None]]] = {}
        self._services: dict[bytes, dict[tuple[int, dns.Name], None]] = {}
        self._pointers: dict[bytes, dict[dns.Name, None]] = {}

    def add_address(self, prefix: bytes, kind: int, packed: bytes) -> None:
        self._nodes.setdefault(prefix, {}).setdefault(kind, {})[packed] = None

    def add_service(self, name: str, protocol: str, port: int, target: dns.Name) -> None:
        if name:
            parent = _label(f"_{protocol.lower()}")
            self._nodes.setdefault(parent, {})
            prefix = _label(f"_{name.lower()}") + parent
            self._services.setdefault(prefix, {})[port, target] = None
        self._services.setdefault(b"", {})[port, target] = None

    def add_pointer(self, packed: bytes, target: dns.Name) -> None:
        self._pointers.setdefault(packed, {})[target] = None

    def finished(self) -> ServiceRecords:
        nodes: dict[bytes, dict[int, tuple[bytes, ...]]] = {
            prefix: {kind: tuple(found) for kind, found in sets.items()}
            for prefix, sets in self._nodes.items()
        }
        for prefix, services in self._services.items():
            weight = max(1, _WEIGHTS // len(services))
            nodes.setdefault(prefix, {})[dns.SRV] = tuple(
                dns.srv(0, weight, port, target) for port, target in services
            )
        pointers = {packed: tuple(names) for packed, names in self._pointers.items()}
        return ServiceRecords(nodes, pointers)


def _add_cluster_ip(
    made: _Nodes, service: views.Service, slices: Iterable[views.EndpointSlice]
) -> None:
    spec = service.spec
    for ip in spec.cluster_ips or [spec.cluster_ip]:
        kind, packed = dns.address(ip)
        made.add_address(b"", kind, packed)
        made.add_pointer(packed, made.own)
    for port in spec.ports:
        made.add_service(port.name, port.protocol, port.port, made.own)
    for each in slices:
        for prefix, kind, packed in _ready(service, each):
            made.add_address(prefix, kind, packed)


def _add_headless(
    made: _Nodes, service: views.Service, slices: Iterable[views.EndpointSlice]
) -> None:
    for each in slices:
        ports = [port for port in each.ports or [] if port.port is not None]
        for prefix, kind, packed in _ready(service, each):
            target = prefix + made.own
            made.add_address(b"", kind, packed)
            made.add_address(prefix, kind, packed)
            made.add_pointer(packed, target)
            for port in ports:
                made.add_service(port.name, port.protocol, port.port or 0, target)


def _ready(
    service: views.Service, found: views.EndpointSlice
) -> Iterator[tuple[bytes, int, bytes]]:
    """Of each ready endpoint its label, record type and address."""
    if found.address_type not in ("IPv4", "IPv6"):
        return
    unready_too = service.spec.publish_not_ready_addresses
    for endpoint in found.endpoints:
        if not endpoint.addresses or not (unready_too or endpoint.conditions.ready is not False):
            continue
        # Consumers use the first address only; all are interchangeable.
        ip = endpoint.addresses[0]
        kind, packed = dns.address(ip)
        yield _label(endpoint.hostname.lower() or address_label(ip)), kind, packed


def address_label(ip: str) -> str:
    """How an endpoint without a hostname is called; never begins or ends with a hyphen."""
    label = str(ipaddress.ip_address(ip)).replace(".", "-").replace(":", "-")
    return f"{'0' * label.startswith('-')}{label}{'0' * label.endswith('-')}"


def labelled_address(label: str) -> str | None:
    """The address that a pod's label stands for: `10-42-0-7`, `fd00--7`."""
    if not _ADDRESS_LABEL.fullmatch(label):
        return None
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def _label(text: str) -> bytes:
    """One label in wire form. Raises Malformed."""
    return dns.join([text.encode()])[:-1]
