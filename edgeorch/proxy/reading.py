"""What Services, EndpointSlices and pods say, as the values that rules are rendered from. Pure."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Iterator

from edgeorch.core import pod_facts, service_rules
from edgeorch.model import views
from edgeorch.proxy import health_ports

log = logging.getLogger(__name__)

PortKey = tuple[str, str]
"""Port name, protocol."""

Backends = dict[PortKey, list[service_rules.Endpoint]]


def backends(view: views.EndpointSlice, node_name: str) -> Backends:
    """What a slice says about whom to send to."""
    found: Backends = {}
    if view.address_type not in ("IPv4", "IPv6"):
        return found
    for port in view.ports or []:
        if port.port is None:
            continue
        listed = found.setdefault((port.name, port.protocol), [])
        for endpoint in view.endpoints:
            if not endpoint.addresses:
                continue
            conditions = endpoint.conditions
            ready = conditions.ready is not False
            listed.append(
                service_rules.Endpoint(
                    # Consumers use the first address only; all are interchangeable.
                    ip=endpoint.addresses[0],
                    port=port.port,
                    node_local=endpoint.node_name == node_name,
                    ready=ready,
                    serving=ready if conditions.serving is None else conditions.serving,
                    terminating=bool(conditions.terminating),
                )
            )
    return found


def service_ports(
    service: views.Service, slices: list[Backends]
) -> Iterator[service_rules.ServicePort]:
    """One for each port of a Service that has an address or a node port."""
    spec = service.spec
    if spec.type == "ExternalName" or spec.cluster_ip in ("", "None"):
        return
    external = spec.type in ("NodePort", "LoadBalancer")
    for port in spec.ports:
        endpoints = dict.fromkeys(
            endpoint
            for backend in slices
            for endpoint in backend.get((port.name, port.protocol), [])
        )
        yield service_rules.ServicePort(
            namespace=service.metadata.namespace,
            name=service.metadata.name,
            port_name=port.name,
            protocol=port.protocol,
            port=port.port,
            cluster_ips=tuple(_addresses(spec.cluster_ips or [spec.cluster_ip])),
            node_port=port.node_port if external else 0,
            external_ips=tuple(_addresses(spec.external_ips)),
            lb_ips=tuple(_balancer_ips(service)) if spec.type == "LoadBalancer" else (),
            source_ranges=tuple(_ranges(service)) if spec.type == "LoadBalancer" else (),
            affinity_seconds=_affinity(spec),
            internal_local=spec.internal_traffic_policy == "Local",
            external_local=spec.external_traffic_policy == "Local",
            endpoints=tuple(endpoints),
        )


def _addresses(listed: Iterable[str]) -> Iterator[str]:
    for text in listed:
        try:
            yield str(ipaddress.ip_address(text))
        except ValueError:
            log.warning("Ignoring %r, which is not an IP address", text)


def _balancer_ips(service: views.Service) -> Iterator[str]:
    ingress = (service.status.get("loadBalancer") or {}).get("ingress") or []
    yield from _addresses(
        entry["ip"] for entry in ingress if entry.get("ip") and entry.get("ipMode") != "Proxy"
    )


def _ranges(service: views.Service) -> Iterator[str]:
    for text in service.spec.load_balancer_source_ranges:
        try:
            yield str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            log.warning("Ignoring %r, which is not a range of addresses", text)


def health_check(
    service: views.Service, slices: list[Backends]
) -> tuple[int, health_ports.Check] | None:
    """The port of a Service that tells balancers elsewhere whether it has endpoints here."""
    spec = service.spec
    if not spec.health_check_node_port or spec.external_traffic_policy != "Local":
        return None
    listed = (e for backend in slices for endpoints in backend.values() for e in endpoints)
    count = len({e.ip for e in listed if e.node_local and e.ready and not e.terminating})
    meta = service.metadata
    return spec.health_check_node_port, health_ports.Check(meta.namespace, meta.name, count)


def host_ports(pod: pod_facts.PodFacts) -> Iterator[service_rules.HostPort]:
    """The host ports of a pod that has its address; those of the host's network need no rules."""
    if pod.spec.host_network or pod.terminal:
        return
    containers = [
        *pod.spec.containers,
        *(each for each in pod.spec.init_containers if each.sidecar),
    ]
    for ip in pod.addresses:
        for container in containers:
            for port in container.ports:
                if port.host_port:
                    yield service_rules.HostPort(
                        uid=pod.metadata.uid,
                        protocol=port.protocol,
                        host_port=port.host_port,
                        pod_ip=ip,
                        pod_port=port.container_port,
                        host_ip="" if port.host_ip in ("0.0.0.0", "::") else port.host_ip,
                    )


def _affinity(spec: views.ServiceSpec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    client = (spec.session_affinity_config or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or 10_800)
