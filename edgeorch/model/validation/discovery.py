"""Rules of Endpoints and EndpointSlices."""

from __future__ import annotations

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta
from edgeorch.model.validation.containers import PROTOCOLS
from edgeorch.model.validation.meta import Causes, invalid_each, one_of

_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS = 1000
MAX_ADDRESSES = 100
MAX_PORTS = 20_000


def endpoints(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    for index, subset in enumerate(obj.get("subsets") or []):
        path = f"subsets[{index}]"
        ready, not_ready = subset.get("addresses") or [], subset.get("notReadyAddresses") or []
        if not ready and not not_ready:
            why = "must specify `addresses` or `notReadyAddresses`"
            found.append(errors.required(path, why))
        for field, listed in (("addresses", ready), ("notReadyAddresses", not_ready)):
            for number, address in enumerate(listed):
                found += _address(f"{path}.{field}[{number}]", address)
        ports = subset.get("ports") or []
        for number, port in enumerate(ports):
            found += _port(f"{path}.ports[{number}]", port, named=len(ports) > 1)
    return found


def _address(path: str, address: Object) -> Causes:
    ip = address.get("ip") or ""
    found = invalid_each(f"{path}.ip", ip, formats.ip(ip))
    hostname, node = address.get("hostname"), address.get("nodeName")
    if hostname:
        found += invalid_each(f"{path}.hostname", hostname, formats.dns1123_label(hostname))
    if node is not None:
        found += invalid_each(f"{path}.nodeName", node, formats.dns1123_subdomain(node))
    return found + invalid_each(f"{path}.ip", ip, formats.ordinary_ip(ip))


def _port(path: str, port: Object, *, named: bool) -> Causes:
    found: Causes = []
    name = port.get("name") or ""
    if named and not name:
        found.append(errors.required(f"{path}.name"))
    elif name:
        found += invalid_each(f"{path}.name", name, formats.dns1123_label(name))
    number = port.get("port") or 0
    found += invalid_each(f"{path}.port", number, formats.port(number))
    found += one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS)
    return found + app_protocol(path, port)


def app_protocol(path: str, port: Object) -> Causes:
    protocol = port.get("appProtocol")
    if protocol is None:
        return []
    return invalid_each(f"{path}.appProtocol", protocol, formats.qualified_name(protocol))


def endpoint_slice(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    kind = obj.get("addressType") or ""
    found += one_of("addressType", kind, _TYPES)
    found += _slice_endpoints(obj.get("endpoints") or [], kind)
    return found + _slice_ports(obj.get("ports") or [])


def _slice_endpoints(listed: list[Object], kind: str) -> Causes:
    if len(listed) > MAX_ENDPOINTS:
        return [errors.too_many("endpoints", len(listed), MAX_ENDPOINTS)]
    found: Causes = []
    for index, endpoint in enumerate(listed):
        path = f"endpoints[{index}]"
        addresses = endpoint.get("addresses") or []
        if not addresses:
            why = "must contain at least 1 address"
            found.append(errors.required(f"{path}.addresses", why))
        elif len(addresses) > MAX_ADDRESSES:
            at = f"{path}.addresses"
            found.append(errors.too_many(at, len(addresses), MAX_ADDRESSES))
        for number, address in enumerate(addresses):
            found += _slice_address(f"{path}.addresses[{number}]", address, kind)
        node, hostname = endpoint.get("nodeName"), endpoint.get("hostname")
        if node is not None:
            found += invalid_each(f"{path}.nodeName", node, formats.dns1123_subdomain(node))
        topology = endpoint.get("deprecatedTopology")
        found += meta.labels(f"{path}.deprecatedTopology", topology)
        if hostname is not None:
            found += invalid_each(f"{path}.hostname", hostname, formats.dns1123_label(hostname))
        found += _hints(f"{path}.hints", endpoint.get("hints") or {})
    return found


def _slice_address(path: str, address: str, kind: str) -> Causes:
    if kind == "FQDN":
        return _fqdn(path, address)
    if kind not in ("IPv4", "IPv6"):
        return []
    parsed = formats.parse_ip(address)
    found: Causes = []
    if parsed is None or f"IPv{parsed.version}" != kind:
        found.append(errors.invalid_value(path, address, f"must be a valid {kind} address"))
    return found + invalid_each(path, address, formats.ordinary_ip(address))


def _fqdn(path: str, name: str) -> Causes:
    if not name:
        return [errors.required(path)]
    bare = name.removesuffix(".")
    reasons = formats.dns1123_subdomain(bare)
    if reasons:
        return [errors.invalid_value(path, bare, ",".join(reasons))]
    if "." not in bare:
        why = "should be a domain with at least two segments separated by dots"
        return [errors.invalid_value(path, bare, why)]
    found: Causes = []
    for label in bare.split("."):
        reasons = formats.dns1123_label(label)
        if reasons:
            found.append(errors.invalid_value(path, label, ",".join(reasons)))
    return found


def _hints(path: str, hints: Object) -> Causes:
    zones = hints.get("forZones") or []
    if len(zones) > 8:
        return [errors.too_many(f"{path}.forZones", len(zones), 8)]
    found: Causes = []
    seen: set[str] = set()
    for index, zone in enumerate(zones):
        at = f"{path}.forZones[{index}].name"
        name = zone.get("name") or ""
        if name in seen:
            found.append(errors.duplicate(at, name))
        seen.add(name)
        found += invalid_each(at, name, formats.qualified_name(name))
    return found


def _slice_ports(listed: list[Object]) -> Causes:
    if len(listed) > MAX_PORTS:
        return [errors.too_many("ports", len(listed), MAX_PORTS)]
    found: Causes = []
    names: set[str] = set()
    for index, port in enumerate(listed):
        path = f"ports[{index}]"
        name = port.get("name") or ""
        if name:
            found += invalid_each(f"{path}.name", name, formats.dns1123_label(name))
        if name in names:
            found.append(errors.duplicate(f"{path}.name", name))
        names.add(name)
        if port.get("port") is not None:
            found += invalid_each(f"{path}.port", port["port"], formats.port(port["port"]))
        found += one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS)
        found += app_protocol(path, port)
    return found
