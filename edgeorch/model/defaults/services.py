"""Defaults of Services, Endpoints and EndpointSlices.

Besides v1 defaulting, `service` settles what Kubernetes' Service registry settles before it
allocates: the pair clusterIP/clusterIPs agrees, and the IP families of a single-stack IPv4 device
are filled in. Addresses and ports themselves are allocated elsewhere.
"""

from __future__ import annotations

from edgeorch.model.kinds import Object

AFFINITY_SECONDS = 10_800


def service(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    _session_affinity(spec)
    for port in spec.get("ports") or []:
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        if spec.get("internalTrafficPolicy") is None:
            spec["internalTrafficPolicy"] = "Cluster"
        _cluster_ips(spec)
        _families(spec)
    if spec["type"] == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
        balancer = (obj.get("status") or {}).get("loadBalancer") or {}
        for ingress in balancer.get("ingress") or []:
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def externally_accessible(spec: Object) -> bool:
    kind = spec.get("type", "")
    return kind in ("NodePort", "LoadBalancer") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def _session_affinity(spec: Object) -> None:
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}


def _cluster_ips(spec: Object) -> None:
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP") and "clusterIP" not in spec:
        spec["clusterIP"] = spec["clusterIPs"][0]


def _families(spec: Object) -> None:
    """One family, IPv4 unless an address says otherwise; a headless Service without selector
    speaks both, since its endpoints are whatever somebody writes."""
    headless = spec.get("clusterIPs") == ["None"]
    addresses = [ip for ip in spec.get("clusterIPs") or [] if ip != "None"]
    both = headless and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        two = both or len(addresses) > 1 or len(spec.get("ipFamilies") or []) > 1
        spec["ipFamilyPolicy"] = "RequireDualStack" if two else "SingleStack"
    if not spec.get("ipFamilies"):
        if addresses:
            spec["ipFamilies"] = ["IPv6" if ":" in ip else "IPv4" for ip in addresses]
        elif both and spec["ipFamilyPolicy"] != "SingleStack":
            spec["ipFamilies"] = ["IPv4", "IPv6"]
        else:
            spec["ipFamilies"] = ["IPv4"]


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or []:
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or []:
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"
