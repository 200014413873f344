"""The tables of Services, Endpoints and EndpointSlices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

_SHOWN = 3

SERVICE = (
    NAME,
    Column("Type", "How the service is reached."),
    Column("Cluster-IP", "Address inside the cluster."),
    Column("External-IP", "Addresses from outside."),
    Column("Port(s)", "Ports, and node ports behind the colon."),
    AGE,
    wide("Selector", "Labels of the pods behind the service."),
)

ENDPOINTS = (NAME, Column("Endpoints", "Addresses that take requests."), AGE)

ENDPOINT_SLICE = (
    NAME,
    Column("AddressType", "Kind of the addresses."),
    Column("Ports", "Ports of every endpoint."),
    Column("Endpoints", "Addresses of the endpoints."),
    AGE,
)


def service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ips = spec.get("clusterIPs") or []
    return [
        (obj.get("metadata") or {}).get("name", ""),
        spec.get("type", ""),
        ips[0] if ips else "<none>",
        _external(spec, obj.get("status") or {}),
        ",".join(_port(port) for port in spec.get("ports") or []) or "<none>",
        age(obj, now),
        format_labels(spec.get("selector")),
    ]


def format_labels(labels: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _port(port: Object) -> str:
    number, protocol = port.get("port", 0), port.get("protocol", "")
    if port.get("nodePort"):
        return f"{number}:{port['nodePort']}/{protocol}"
    return f"{number}/{protocol}"


def _external(spec: Object, status: Object) -> str:
    given = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(given) or "<none>"
        case "LoadBalancer":
            ingresses = (status.get("loadBalancer") or {}).get("ingress") or []
            reached = {i.get("ip") or i.get("hostname") or "" for i in ingresses} - {""}
            return ",".join([*sorted(reached), *given]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName") or "")
        case _:
            return "<unknown>"


def endpoints(obj: Object, now: datetime) -> list[Any]:
    return [
        (obj.get("metadata") or {}).get("name", ""),
        _subsets(obj.get("subsets") or []),
        age(obj, now),
    ]


def _subsets(subsets: list[Object]) -> str:
    if not subsets:
        return "<none>"
    found = []
    for subset in subsets:
        ips = [address.get("ip") or "" for address in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        if not ports:
            found += ips
        for number in (port.get("port") or 0 for port in ports):
            found += [f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}" for ip in ips]
    return _some(found)


def endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = []
    for port in obj.get("ports") or []:
        number = port.get("port")
        name = port.get("name")
        ports.append(str(number) if number is not None else "*" if name is None else name)
    addresses = [
        address for one in obj.get("endpoints") or [] for address in one.get("addresses") or []
    ]
    return [
        (obj.get("metadata") or {}).get("name", ""),
        obj.get("addressType", ""),
        _some(ports) or "<unset>",
        _some(addresses) or "<unset>",
        age(obj, now),
    ]


def _some(listed: list[str]) -> str:
    told = ",".join(listed[:_SHOWN])
    return f"{told} + {len(listed) - _SHOWN} more..." if len(listed) > _SHOWN else told
