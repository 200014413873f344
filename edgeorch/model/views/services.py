"""Services and EndpointSlices."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from msgspec import field

from edgeorch.model.views.base import IntOrString, Meta, View


class ServicePort(View, frozen=True, kw_only=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString = 0
    node_port: int = 0
    app_protocol: str | None = None


class ServiceSpec(View, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: list[str] = field(name="clusterIPs", default=[])
    external_ips: list[str] = field(name="externalIPs", default=[])
    ip_families: list[str] = []
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: dict[str, Any] | None = None
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str = ""
    publish_not_ready_addresses: bool = False
    allocate_load_balancer_node_ports: bool = True
    health_check_node_port: int = 0
    load_balancer_class: str = ""
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    load_balancer_source_ranges: list[str] = []


class Service(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: dict[str, Any] = {}


class EndpointConditions(View, frozen=True, kw_only=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(View, frozen=True, kw_only=True):
    addresses: list[str] = []
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""
    hostname: str = ""


class EndpointPort(View, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int | None = None


class EndpointSlice(View, frozen=True, kw_only=True):
    metadata: Meta
    address_type: str = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[EndpointPort] | None = None
