"""Rules of Services: types, ports, addresses, traffic policies.

Ranges of node ports and cluster addresses belong to the allocators, which word their own refusals
with `node_port_taken` and its neighbours.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors
from edgeorch.model.defaults.services import externally_accessible
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta
from edgeorch.model.validation.containers import PROTOCOLS
from edgeorch.model.validation.discovery import app_protocol
from edgeorch.model.validation.meta import Causes, invalid_each, one_of
from edgeorch.model.validation.probes import port_num_or_name

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES = ("Cluster", "Local")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTION = ("PreferClose", "PreferSameNode", "PreferSameZone")
_ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"
MAX_AFFINITY_SECONDS = 86_400


def node_port_taken(path: str, port: int) -> errors.Cause:
    return errors.invalid_value(path, port, "provided port is already allocated")


def node_port_out_of_range(path: str, port: int, low: int, high: int) -> errors.Cause:
    why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
    return errors.invalid_value(path, port, why)


def cluster_ip_refused(ip: str, why: str) -> errors.Cause:
    """`why` is e.g. "provided IP is already allocated"."""
    return errors.invalid_value("spec.clusterIPs", [ip], f"failed to allocate IP {ip}: {why}")


def headless(spec: Object) -> bool:
    return spec.get("clusterIPs") == ["None"]


def service(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    kind = spec.get("type") or ""
    ports = spec.get("ports") or []
    found = meta.validate(obj, True, meta.service_name)
    if not ports and not headless(spec) and kind != "ExternalName":
        found.append(errors.required("spec.ports"))
    found += _by_type(spec, kind)
    names: set[str] = set()
    for index, port in enumerate(ports):
        found += _port(f"spec.ports[{index}]", port, len(ports) > 1, names)
    found += meta.labels("spec.selector", spec.get("selector"))
    found += _affinity(spec)
    found += cluster_ips(spec)
    for index, ip in enumerate(spec.get("externalIPs") or []):
        reasons = formats.ip(ip) or formats.ordinary_ip(ip)
        found += invalid_each(f"spec.externalIPs[{index}]", ip, reasons)
    found += one_of("spec.type", kind, _TYPES)
    found += _port_clashes(ports, kind)
    found += _load_balancer(obj, spec, kind)
    found += _external_policy(spec)
    return found + _internal_policy(spec, kind)


def _by_type(spec: Object, kind: str) -> Causes:
    if kind in ("LoadBalancer", "NodePort") and headless(spec):
        why = f"may not be set to 'None' for {kind} services"
        return [errors.invalid_value("spec.clusterIPs[0]", "None", why)]
    if kind != "ExternalName":
        return []
    found: Causes = []
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            why = "may not be set for ExternalName services"
            found.append(errors.forbidden_field(f"spec.{field}", why))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*found, errors.required("spec.externalName")]
    return found + invalid_each("spec.externalName", name, formats.dns1123_subdomain(name))


def _port(path: str, port: Object, named: bool, names: set[str]) -> Causes:
    found: Causes = []
    name = port.get("name") or ""
    if named and not name:
        found.append(errors.required(f"{path}.name"))
    elif name:
        found += invalid_each(f"{path}.name", name, formats.dns1123_label(name))
        if name in names:
            found.append(errors.duplicate(f"{path}.name", name))
        names.add(name)
    number = port.get("port") or 0
    found += invalid_each(f"{path}.port", number, formats.port(number))
    found += one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS)
    found += port_num_or_name(f"{path}.targetPort", port.get("targetPort"))
    return found + app_protocol(path, port)


def _affinity(spec: Object) -> Causes:
    affinity = spec.get("sessionAffinity")
    found = one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if affinity == "None" and config is not None:
        why = "must not be set when session affinity is None"
        found.append(errors.forbidden_field(path, why))
    if affinity != "ClientIP":
        return found
    why = "when session affinity type is ClientIP"
    client = (config or {}).get("clientIP")
    if config is None:
        found.append(errors.required(path, why))
    elif client is None:
        found.append(errors.required(f"{path}.clientIP", why))
    elif client.get("timeoutSeconds") is None:
        found.append(errors.required(f"{path}.clientIP.timeoutSeconds", why))
    elif not 0 < client["timeoutSeconds"] <= MAX_AFFINITY_SECONDS:
        seconds = client["timeoutSeconds"]
        why = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
        found.append(errors.invalid_value(f"{path}.clientIP.timeoutSeconds", seconds, why))
    return found


def cluster_ips(spec: Object) -> Causes:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among each other."""
    if spec.get("type") == "ExternalName":
        return []
    path = "spec.clusterIPs"
    ips = spec.get("clusterIPs") or []
    found = _first_ip(path, spec.get("clusterIP") or "", ips) + _families(spec)
    wrong: Causes = []
    for index, ip in enumerate(ips):
        if index == 0 and ip == "None":
            if len(ips) > 1:
                why = "'None' must be the first and only value"
                wrong.append(errors.invalid_value(path, ips, why))
            continue
        wrong += invalid_each(f"{path}[{index}]", ip, formats.ip(ip))
    found += wrong
    if len(ips) > 2:
        found.append(errors.invalid_value(path, ips, "may only hold up to 2 values"))
    if wrong:
        return found
    if len(ips) > 1 and len({":" in ip for ip in ips}) < 2:
        why = "may specify no more than one IP for each IP family"
        found.append(errors.invalid_value(path, ips, why))
    if not headless(spec):
        for index, (ip, family) in enumerate(zip(ips, spec.get("ipFamilies") or [], strict=False)):
            if family in ("IPv4", "IPv6") and (":" in ip) != (family == "IPv6"):
                why = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
                found.append(errors.invalid_value(f"{path}[{index}]", ip, why))
    return found


def _first_ip(path: str, first: str, ips: list[str]) -> Causes:
    if first and not ips:
        return [errors.required(path)]
    if first and ips[0] != first:
        return [errors.invalid_value(path, ips, "first value must match `clusterIP`")]
    if ips and not first:
        why = "must be empty when `clusterIP` is not specified"
        return [errors.invalid_value(path, ips, why)]
    return []


def _families(spec: Object) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, family in enumerate(spec.get("ipFamilies") or []):
        path = f"spec.ipFamilies[{index}]"
        if family not in ("IPv4", "IPv6"):
            found.append(errors.not_supported(path, family, ("IPv4", "IPv6")))
        if family in seen:
            found.append(errors.duplicate(path, family))
        seen.add(family)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        found.append(errors.not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    return found


def _port_clashes(ports: list[Object], kind: str) -> Causes:
    found: Causes = []
    if kind == "ClusterIP":
        why = "may not be used when `type` is 'ClusterIP'"
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                found.append(errors.forbidden_field(f"spec.ports[{index}].nodePort", why))
    node_ports: set[tuple[Any, int]] = set()
    for index, port in enumerate(ports):
        number = port.get("nodePort") or 0
        if not number:
            continue
        if (port.get("protocol"), number) in node_ports:
            found.append(errors.duplicate(f"spec.ports[{index}].nodePort", number))
        node_ports.add((port.get("protocol"), number))
    pairs: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        pair = (port.get("protocol"), port.get("port"))
        if pair in pairs:
            shown = {
                "Name": "",
                "Protocol": pair[0],
                "AppProtocol": None,
                "Port": pair[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            found.append(errors.duplicate(f"spec.ports[{index}]", shown))
        pairs.add(pair)
    return found


def _load_balancer(obj: Object, spec: Object, kind: str) -> Causes:
    found: Causes = []
    balancer = kind == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if not balancer:
            found.append(errors.forbidden_field(path, _ONLY_BALANCER))
        for index, value in enumerate(ranges):
            bare = value.strip()
            found += invalid_each(f"{path}[{index}]", bare, formats.cidr(bare))
    else:
        key = "service.beta.kubernetes.io/load-balancer-source-ranges"
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if key in annotations:
            path = f"metadata.annotations[{key}]"
            if not balancer:
                found.append(errors.forbidden_field(path, _ONLY_BALANCER))
            for value in filter(None, annotations[key].strip().split(",")):
                found += invalid_each(path, value.strip(), formats.cidr(value.strip()))
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and not balancer:
        path = "spec.allocateLoadBalancerNodePorts"
        found.append(errors.forbidden_field(path, _ONLY_BALANCER))
    if balancer and allocate is None:
        found.append(errors.required("allocateLoadBalancerNodePorts"))
    return found + balancer_class(spec, None)


def balancer_class(spec: Object, old: Object | None) -> Causes:
    path = "spec.loadBalancerClass"
    name = spec.get("loadBalancerClass")
    is_balancer = spec.get("type") == "LoadBalancer"
    if old is not None and is_balancer and old.get("type") == "LoadBalancer":
        if name != old.get("loadBalancerClass"):
            return [errors.invalid_value(path, name, "may not change once set")]
    elif old is not None:
        return []
    if name is None:
        return []
    if not is_balancer:
        return [errors.forbidden_field(path, _ONLY_BALANCER)]
    return invalid_each(path, name, formats.qualified_name(name))


def needs_health_check(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _external_policy(spec: Object) -> Causes:
    found: Causes = []
    path = "spec.externalTrafficPolicy"
    policy = spec.get("externalTrafficPolicy") or ""
    if externally_accessible(spec):
        found += one_of(path, policy, _POLICIES)
    elif policy:
        why = "may only be set for externally-accessible services"
        found.append(errors.invalid_value(path, policy, why))
    path = "spec.healthCheckNodePort"
    port = spec.get("healthCheckNodePort") or 0
    if needs_health_check(spec):
        if port:
            found += invalid_each(path, port, formats.port(port))
    elif port:
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(errors.invalid_value(path, port, why))
    return found


def _internal_policy(spec: Object, kind: str) -> Causes:
    found: Causes = []
    policy = spec.get("internalTrafficPolicy")
    path = "spec.internalTrafficPolicy"
    if policy is None:
        if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
            found.append(errors.required(path))
    elif policy not in _POLICIES:
        found.append(errors.not_supported(path, policy, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTION:
        path = "spec.trafficDistribution"
        found.append(errors.not_supported(path, distribution, _DISTRIBUTION))
    return found
