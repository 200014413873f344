"""ClusterIPs and node ports of Services: given out, kept apart, taken back.

The store calls `admit` after validation and `settle` when the write has succeeded or failed, both
without awaiting in between, so no two Services ever hold the same address or port. What a Service
holds can be read from the object itself; the pools only mirror it and are filled by `load`.
What an update leaves out has been carried over from the old object before (model.lifecycle).
Semantics and wording follow Kubernetes' Service registry (pkg/registry/core/service/storage).
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

from edgeorch.core import ipam
from edgeorch.model import errors
from edgeorch.model.kinds import Object

log = logging.getLogger(__name__)

API_SERVICE = ("default", "kubernetes")
"""Always has the first address of the range."""

Held = tuple[frozenset[str], frozenset[int]]
"""ClusterIPs and ports (node ports and the health check's)."""

NOTHING: Held = (frozenset(), frozenset())


class ServiceAllocator:
    def __init__(self, service_cidr: str, node_ports: tuple[int, int], choose: ipam.Choose) -> None:
        network = ipaddress.ip_network(service_cidr)
        self._cidr = str(network)
        self._family = f"IPv{network.version}"
        self._first = ipam.gateway(network)
        self._ips = ipam.AddressPool(service_cidr, reserved=[self._first])
        self._ports = ipam.PortPool(*node_ports)
        self._choose = choose

    def load(self, services: Iterable[Object]) -> None:
        """Take what stored Services hold. A clash, which only a changed range or an edit of the
        database can make, is logged and left as it is."""
        for service in services:
            ips, ports = held(service)
            clashes = [ip for ip in sorted(ips) if not self._keeps_ip(service, ip)]
            clashes += [str(port) for port in sorted(ports) if not self._keeps_port(port)]
            if clashes:
                log.warning(
                    "Service %s/%s holds %s, which is taken or outside the configured range",
                    *_key(service),
                    ", ".join(clashes),
                )

    def _keeps_ip(self, service: Object, ip: str) -> bool:
        try:
            self._reserve_ip(service, ip)
        except (ipam.OutOfRange, ipam.InUse):
            return False
        return True

    def _keeps_port(self, port: int) -> bool:
        try:
            self._ports.reserve(port)
        except (ipam.OutOfRange, ipam.InUse):
            return False
        return True

    def admit(self, new: Object, old: Object | None) -> None:
        """Complete `new` in place with what it needs. Raises StatusError and then holds nothing."""
        self._refuse_families(new, old)
        before = held(old) if old is not None else NOTHING
        taken_ips: list[str] = []
        taken_ports: list[int] = []
        try:
            self._admit_ips(new, before[0], taken_ips)
            self._admit_ports(new, before[1], taken_ports)
            self._admit_health_check(new, before[1], taken_ports)
        except errors.StatusError:
            for ip in taken_ips:
                self._release_ip(ip)
            for port in taken_ports:
                self._ports.release(port)
            raise

    def settle(self, new: Object | None, old: Object | None) -> None:
        """`old` has become `new` (None: it is gone): give back what only `old` held."""
        if old is None:
            return
        now = held(new) if new is not None else NOTHING
        ips, ports = held(old)
        for ip in ips - now[0]:
            self._release_ip(ip)
        for port in ports - now[1]:
            self._ports.release(port)

    def release(self, old: Object) -> None:
        self.settle(None, old)

    def _refuse_families(self, new: Object, old: Object | None) -> None:
        """Addresses are of one family here. Endpoints that somebody writes may be of any."""
        spec, before = new["spec"], (old or {}).get("spec") or {}
        if not _has_cluster_ip(spec) or (
            spec.get("clusterIP") == "None" and not spec.get("selector")
        ):
            return
        causes = []
        policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
        if policy == "RequireDualStack" != before.get("ipFamilyPolicy"):
            why = "this cluster is not configured for dual-stack services"
            causes.append(errors.invalid_value("spec.ipFamilyPolicy", policy, why))
        if families != before.get("ipFamilies"):
            causes += [
                errors.invalid_value(
                    f"spec.ipFamilies[{index}]", family, "not configured on this cluster"
                )
                for index, family in enumerate(families)
                if family != self._family
            ]
        if causes:
            raise errors.invalid("Service", "", new["metadata"].get("name", ""), causes)

    # --- ClusterIPs -----------------------------------------------------------------------------

    def _admit_ips(self, new: Object, before: frozenset[str], taken: list[str]) -> None:
        spec = new["spec"]
        if not _has_cluster_ip(spec) or spec.get("clusterIP") == "None":
            return
        wanted = [ip for ip in spec.get("clusterIPs") or [] if ip]
        if not wanted:
            ip = self._take_ip(new)
            taken.append(ip)
            spec["clusterIP"], spec["clusterIPs"] = ip, [ip]
            return
        for ip in wanted:
            if ip not in before:
                self._claim_ip(new, ip)
                taken.append(ip)
        spec["clusterIP"] = wanted[0]

    def _take_ip(self, service: Object) -> str:
        if _key(service) == API_SERVICE:
            return self._first
        try:
            return self._ips.take_chosen(self._choose)
        except ipam.Exhausted as error:
            raise errors.internal(f"failed to allocate a serviceIP: {error}") from None

    def _claim_ip(self, service: Object, ip: str) -> None:
        try:
            self._reserve_ip(service, ip)
        except ipam.OutOfRange:
            why = (
                f"the provided IP ({ip}) is not in the valid range. "
                f"The range of valid IPs is {self._cidr}"
            )
        except ipam.InUse:
            why = "provided IP is already allocated"
        else:
            return
        value = service["spec"].get("clusterIPs")
        cause = errors.invalid_value("spec.clusterIPs", value, f"failed to allocate IP {ip}: {why}")
        raise errors.invalid("Service", "", service["metadata"].get("name", ""), [cause])

    def _reserve_ip(self, service: Object, ip: str) -> None:
        if ip != self._first or _key(service) != API_SERVICE:
            self._ips.reserve(ip)

    def _release_ip(self, ip: str) -> None:
        if ip != self._first:
            self._ips.release(ip)

    # --- ports ----------------------------------------------------------------------------------

    def _admit_ports(self, new: Object, before: frozenset[int], taken: list[int]) -> None:
        spec = new["spec"]
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        mine = set(before)
        ports = spec.get("ports") or []
        for index, port in enumerate(ports):
            number = port.get("nodePort") or 0
            if number and number not in mine:
                self._claim_port(new, f"spec.ports[{index}].nodePort", number)
                taken.append(number)
                mine.add(number)
        if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            return
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = _sibling(ports, port) or self._take_port(taken)

    def _claim_port(self, service: Object, field: str, number: int) -> None:
        try:
            self._ports.reserve(number)
        except ipam.OutOfRange:
            why = (
                "provided port is not in the valid range. "
                f"The range of valid ports is {self._ports}"
            )
        except ipam.InUse:
            why = "provided port is already allocated"
        else:
            return
        cause = errors.invalid_value(field, number, why)
        raise errors.invalid("Service", "", service["metadata"].get("name", ""), [cause])

    def _take_port(self, taken: list[int]) -> int:
        try:
            number = self._ports.take_chosen(self._choose)
        except ipam.Exhausted as error:
            raise errors.internal(f"failed to allocate a nodePort: {error}") from None
        taken.append(number)
        return number

    def _admit_health_check(self, new: Object, before: frozenset[int], taken: list[int]) -> None:
        spec = new["spec"]
        if not _needs_health_check(spec):
            return
        number = spec.get("healthCheckNodePort") or 0
        if not number:
            spec["healthCheckNodePort"] = self._take_port(taken)
        elif number not in before:
            try:
                self._ports.reserve(number)
            except (ipam.OutOfRange, ipam.InUse):
                raise errors.internal(
                    f"failed to allocate requested HealthCheck NodePort {number}: "
                    "provided port is already allocated or not in the valid range"
                ) from None
            taken.append(number)


def held(service: Object) -> Held:
    """The addresses and ports that the Service has."""
    spec = service.get("spec") or {}
    ips: frozenset[str] = frozenset()
    if _has_cluster_ip(spec):
        ips = frozenset(ip for ip in spec.get("clusterIPs") or [] if ip and ip != "None")
    ports: set[int] = set()
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        ports = {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}
    if _needs_health_check(spec) and spec.get("healthCheckNodePort"):
        ports.add(spec["healthCheckNodePort"])
    return ips, frozenset(ports)


def _has_cluster_ip(spec: Object) -> bool:
    return spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def _needs_health_check(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _sibling(ports: list[Object], wanted: Object) -> int:
    """The node port of the same port number under another protocol (53/TCP and 53/UDP)."""
    protocol = wanted.get("protocol")
    for port in ports:
        number = port.get("nodePort")
        if not number or port.get("port") != wanted.get("port") or port.get("protocol") == protocol:
            continue
        if not any(p.get("nodePort") == number and p.get("protocol") == protocol for p in ports):
            return int(number)
    return 0


def _key(service: Object) -> tuple[str, str]:
    meta = service["metadata"]
    return meta.get("namespace", ""), meta.get("name", "")
