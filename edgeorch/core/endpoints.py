"""Which pods answer for a Service: EndpointSlices and Endpoints, from Service and pods.

As staging/src/k8s.io/endpointslice and pkg/controller/endpoint. Pods that select the same port
numbers (named ports may differ from pod to pod) share a slice of one address family, at most 100
each. Existing slices keep their names, so a change of one pod is a change of one slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from edgeorch.core import claims, pod_facts
from edgeorch.lib import json
from edgeorch.model import views
from edgeorch.model.kinds import Object

MAX_ENDPOINTS = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER, MIRROR = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"
ENDPOINTS_MANAGED_BY, ENDPOINTS_CONTROLLER = (
    "endpoints.kubernetes.io/managed-by",
    "endpoint-controller",
)
HEADLESS = "service.kubernetes.io/headless"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_MIRRORED = (
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
)
_RESERVED = (SERVICE_NAME, MANAGED_BY, ENDPOINTS_MANAGED_BY, HEADLESS, SKIP_MIRROR)


class Plan(Struct, frozen=True):
    """`update` is keyed by the slice's name; `delete` holds names."""

    create: list[Object] = field(default_factory=list)
    update: dict[str, Object] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)


def is_managed(service: views.Service) -> bool:
    """Whether the endpoints follow from pods; without a selector they are somebody else's."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def is_headless(service: views.Service) -> bool:
    return service.spec.cluster_ip == "None"


# --- slices -------------------------------------------------------------------------------------


def plan_slices(
    service: views.Service,
    reference: Object,
    pods: Iterable[pod_facts.PodFacts],
    existing: Sequence[Object],
) -> Plan:
    """`reference`: the controller reference to the Service. `existing`: its slices, decoded."""
    chosen = sorted((p for p in pods if not p.terminal), key=lambda pod: pod.metadata.name)
    wanted: list[Object] = []
    for family in service.spec.ip_families or ["IPv4"]:
        wanted += _slices(service, reference, chosen, family)
    return settle(wanted, existing)


def settle(wanted: Sequence[Object], existing: Sequence[Object]) -> Plan:
    """Give each wanted slice the existing one that is most like it; create and delete the rest."""
    plan = Plan()
    left = sorted(existing, key=lambda each: str(each["metadata"]["name"]))
    for each in wanted:
        match = next((old for old in left if _shape(old) == _shape(each)), None)
        match = match or next((o for o in left if o["addressType"] == each["addressType"]), None)
        if match is None:
            plan.create.append(each)
            continue
        left.remove(match)
        changed = _merged(match, each)
        if changed != match:
            plan.update[match["metadata"]["name"]] = changed
    plan.delete.extend(old["metadata"]["name"] for old in left)
    return plan


def _shape(found: Object) -> tuple[str, bytes]:
    return found["addressType"], json.canonical(found.get("ports") or [])


def _merged(old: Object, new: Object) -> Object:
    """`old` with the contents of `new`; name, version and foreign annotations stay.

    What mirrors hand-written Endpoints has their annotations and no others.
    """
    meta = {**old["metadata"]}
    for name in ("labels", "ownerReferences"):
        meta[name] = new["metadata"][name]
    if meta["labels"][MANAGED_BY] == MIRROR:
        meta.pop("annotations", None)
        meta |= {k: v for k, v in new["metadata"].items() if k == "annotations"}
    contents = {name: new[name] for name in ("addressType", "endpoints", "ports")}
    return {**old, "metadata": meta, **contents}


def _slices(
    service: views.Service, reference: Object, pods: Sequence[pod_facts.PodFacts], family: str
) -> list[Object]:
    groups: dict[bytes, tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        address = _address(pod, family)
        if address is None:
            continue
        ports = _ports(service, pod)
        if not ports and service.spec.ports:
            continue
        _, endpoints = groups.setdefault(json.canonical(ports), (ports, []))
        endpoints.append(_endpoint(service, pod, address))
    if not groups:
        return [_slice(service, reference, family, [], [])]
    found = []
    for _, (ports, endpoints) in sorted(groups.items()):
        for start in range(0, len(endpoints), MAX_ENDPOINTS):
            part = endpoints[start : start + MAX_ENDPOINTS]
            found.append(_slice(service, reference, family, ports, part))
    return found


def _slice(
    service: views.Service,
    reference: Object,
    family: str,
    ports: list[Object],
    endpoints: list[Object],
) -> Object:
    meta = service.metadata
    labels = {k: v for k, v in meta.labels.items() if k not in _RESERVED}
    labels |= {SERVICE_NAME: meta.name, MANAGED_BY: CONTROLLER}
    if is_headless(service):
        labels[HEADLESS] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name}-",
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [reference],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }


def _endpoint(service: views.Service, pod: pod_facts.PodFacts, address: str) -> Object:
    published = service.spec.publish_not_ready_addresses
    found: Object = {
        "addresses": [address],
        "conditions": {
            "ready": published or (pod.ready and not pod.terminating),
            "serving": pod.ready,
            "terminating": pod.terminating,
        },
        "targetRef": _target(pod),
    }
    if pod.spec.node_name:
        found["nodeName"] = pod.spec.node_name
    hostname = _hostname(service, pod)
    if hostname:
        found["hostname"] = hostname
    return found


def _target(pod: pod_facts.PodFacts) -> Object:
    meta = pod.metadata
    return {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}


def _hostname(service: views.Service, pod: pod_facts.PodFacts) -> str:
    """The name of its own that a pod of this subdomain has in DNS."""
    return pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""


def _address(pod: pod_facts.PodFacts, family: str) -> str | None:
    return next((ip for ip in pod.addresses if (":" in ip) == (family == "IPv6")), None)


def _ports(service: views.Service, pod: pod_facts.PodFacts) -> list[Object]:
    """The Service's ports as this pod has them; a name that it does not know is left out."""
    found = []
    for port in service.spec.ports:
        number = _resolve(port, pod)
        if number is None:
            continue
        entry: Object = {"name": port.name, "protocol": port.protocol, "port": number}
        if port.app_protocol:
            entry["appProtocol"] = port.app_protocol
        found.append(entry)
    return found


def _resolve(port: views.ServicePort, pod: pod_facts.PodFacts) -> int | None:
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    sidecars = [each for each in pod.spec.init_containers if each.sidecar]
    for container in (*pod.spec.containers, *sidecars):
        for each in container.ports:
            if each.name == port.target_port and each.protocol == port.protocol:
                return each.container_port
    return None


# --- endpoints ----------------------------------------------------------------------------------


def endpoints(service: views.Service, pods: Iterable[pod_facts.PodFacts]) -> Object:
    """The Endpoints object of a Service: its first address family, without terminating pods."""
    meta = service.metadata
    labels = {k: v for k, v in meta.labels.items() if k not in _RESERVED}
    labels[ENDPOINTS_MANAGED_BY] = ENDPOINTS_CONTROLLER
    if is_headless(service):
        labels[HEADLESS] = ""
    found: Object = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels},
    }
    subsets = _subsets(service, pods)
    if subsets:
        found["subsets"] = subsets
    return found


def _subsets(service: views.Service, pods: Iterable[pod_facts.PodFacts]) -> list[Object]:
    """Ports with the same addresses behind them share a subset."""
    family = (service.spec.ip_families or ["IPv4"])[0]
    published = service.spec.publish_not_ready_addresses
    behind: dict[bytes, tuple[Object | None, dict[str, tuple[Object, bool]]]] = {}
    for pod in pods:
        address = _address(pod, family)
        if address is None or pod.terminal or (pod.terminating and not published):
            continue
        entry = _endpoint_address(service, pod, address)
        ports: list[Object | None] = [*_ports(service, pod)]
        if not service.spec.ports and is_headless(service):
            ports = [None]
        for port in ports:
            _, addresses = behind.setdefault(json.canonical(port), (port, {}))
            addresses[address] = (entry, published or pod.ready)
    merged: dict[bytes, tuple[list[Object], dict[str, tuple[Object, bool]]]] = {}
    for _, (each, addresses) in sorted(behind.items()):
        key = json.canonical(sorted((ip, ready) for ip, (_, ready) in addresses.items()))
        shared, _ = merged.setdefault(key, ([], addresses))
        if each is not None:
            shared.append(each)
    return [_subset(ports, addresses) for _, (ports, addresses) in sorted(merged.items())]


def _subset(ports: list[Object], addresses: dict[str, tuple[Object, bool]]) -> Object:
    ordered = [addresses[ip] for ip in sorted(addresses)]
    found: Object = {
        "addresses": [entry for entry, ready in ordered if ready],
        "notReadyAddresses": [entry for entry, ready in ordered if not ready],
        # A Service with one nameless port shows no name, as Go's omitempty has it.
        "ports": [{k: v for k, v in port.items() if k != "name" or v} for port in ports],
    }
    return {name: value for name, value in found.items() if value}


def _endpoint_address(service: views.Service, pod: pod_facts.PodFacts, address: str) -> Object:
    found: Object = {"ip": address, "targetRef": _target(pod)}
    if pod.spec.node_name:
        found["nodeName"] = pod.spec.node_name
    hostname = _hostname(service, pod)
    if hostname:
        found["hostname"] = hostname
    return found


# --- mirroring ----------------------------------------------------------------------------------


def is_mirrored(found: Object, service: views.Service | None) -> bool:
    """Endpoints that somebody wrote by hand for a Service without selector."""
    meta = found["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    skipped = labels.get(SKIP_MIRROR) == "true" or _LEADER in annotations
    return service is not None and not service.spec.selector and not skipped


def mirror(found: Object) -> list[Object]:
    """The slices that say what hand-written Endpoints say."""
    meta = found["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in _RESERVED}
    labels |= {SERVICE_NAME: meta["name"], MANAGED_BY: MIRROR}
    annotations = {
        k: v for k, v in (meta.get("annotations") or {}).items() if k not in _NOT_MIRRORED
    }
    reference = claims.reference({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta})
    slices = []
    for subset in found.get("subsets") or []:
        for family in ("IPv4", "IPv6"):
            entries = _mirrored(subset, family)
            if not entries:
                continue
            made: Object = {
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": labels,
                "ownerReferences": [reference],
            }
            if annotations:
                made["annotations"] = annotations
            slices.append(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": made,
                    "addressType": family,
                    "endpoints": entries,
                    "ports": [
                        {**port, "name": port.get("name", "")} for port in subset.get("ports") or []
                    ],
                }
            )
    return slices


def _mirrored(subset: Object, family: str) -> list[Object]:
    entries = []
    for group, ready in (("addresses", True), ("notReadyAddresses", False)):
        for each in subset.get(group) or []:
            if (":" in each["ip"]) != (family == "IPv6"):
                continue
            kept = {
                name: each[name] for name in ("hostname", "nodeName", "targetRef") if name in each
            }
            entries.append({"addresses": [each["ip"]], "conditions": {"ready": ready}, **kept})
    return entries
