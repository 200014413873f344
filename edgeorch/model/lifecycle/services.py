"""What a Service keeps across an update that does not mention it.

`kubectl apply` and `replace` send Services without the addresses and ports that were allocated for
them. Those stay, unless the Service became something that has none; then they are let go, unless
the author named new ones (pkg/registry/core/service: patchAllocatedValues and
dropTypeDependentFields).
"""

from __future__ import annotations

from edgeorch.model.defaults.services import externally_accessible
from edgeorch.model.kinds import Object
from edgeorch.model.validation.services import needs_health_check


def carry_over(new: Object, old: Object) -> Object:
    """The spec to store."""
    spec = {**new, "ports": [dict(port) for port in new.get("ports") or []]}
    if not new.get("ports"):
        spec.pop("ports")
    _keep_allocated(spec, old)
    _drop_dependent(spec, old)
    return spec


def _keep_allocated(spec: Object, old: Object) -> None:
    if _has_addresses(spec) and _has_addresses(old):
        if not spec.get("clusterIP") and not spec.get("clusterIPs") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if spec.get("clusterIP") == old.get("clusterIP") and not spec.get("clusterIPs"):
            _copy(spec, old, "clusterIPs")
        _follow_cluster_ip(spec, old)
    if _has_node_ports(spec) and _has_node_ports(old):
        taken = {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}
        by_name = {port.get("name", ""): port.get("nodePort") for port in old.get("ports") or []}
        for port in spec.get("ports") or []:
            number = by_name.get(port.get("name", ""))
            if not port.get("nodePort") and number and number not in taken:
                port["nodePort"] = number
    if needs_health_check(spec) and needs_health_check(old) and not spec.get("healthCheckNodePort"):
        _copy(spec, old, "healthCheckNodePort")


def _follow_cluster_ip(spec: Object, old: Object) -> None:
    """A patch of clusterIP alone speaks for the first of clusterIPs (NormalizeClusterIPs)."""
    address, several = spec.get("clusterIP"), spec.get("clusterIPs")
    moved = address and address != old.get("clusterIP")
    if moved and several and several == old.get("clusterIPs"):
        spec["clusterIPs"] = [address, *several[1:]]


def _drop_dependent(spec: Object, old: Object) -> None:
    """Fields of a former type, where they still hold the former value."""
    if _has_addresses(old) and not _has_addresses(spec):
        fields = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if all(spec.get(field) in (None, "", [], old.get(field)) for field in fields):
            for field in fields:
                spec.pop(field, None)
    if _has_node_ports(old) and not _has_node_ports(spec):
        was = {port.get("nodePort") for port in old.get("ports") or []}
        ports = spec.get("ports") or []
        if all(port.get("nodePort") in (None, 0) or port["nodePort"] in was for port in ports):
            for port in ports:
                port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_same(spec, old, "allocateLoadBalancerNodePorts")
        _drop_same(spec, old, "loadBalancerClass")
    if externally_accessible(old) and not externally_accessible(spec):
        _drop_same(spec, old, "externalTrafficPolicy")


def _has_addresses(spec: Object) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def _has_node_ports(spec: Object) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def _copy(spec: Object, old: Object, field: str) -> None:
    if old.get(field):
        spec[field] = old[field]


def _drop_same(spec: Object, old: Object, field: str) -> None:
    if spec.get(field) == old.get(field):
        spec.pop(field, None)
