"""Whether the pods of a bundle have room on the device, before anything of it is changed.

All reasons at once, each with the object it is about. What counts as taken is what goes on running
beside the bundle: pods of its former version make room for those of the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from edgeorch.core import node_affinity, pod_facts, scheduling
from edgeorch.lib import json, quantity
from edgeorch.model import kinds, pod_resources, views
from edgeorch.model.bundles import Item
from edgeorch.model.kinds import Object

_TEMPLATED = {
    kinds.DEPLOYMENT.resource: "replicas",
    kinds.STATEFUL_SET.resource: "replicas",
    kinds.REPLICA_SET.resource: "replicas",
    kinds.REPLICATION_CONTROLLER.resource: "replicas",
    kinds.JOB.resource: "parallelism",
    kinds.DAEMON_SET.resource: "",
}
"""Where each says how many pods it makes; "" for one."""
_Port = tuple[str, str, int]
"""Address, protocol, number."""
_UNITS = {pod_resources.CPU: ("m", quantity.NANO // 1000)}


class Wanted(Struct, frozen=True):
    """Pods of one object. `count` 0: it makes some at times, as a CronJob."""

    place: str
    """Of the pod's spec, for errors."""
    count: int
    pod: views.Pod


class Trouble(Struct, frozen=True):
    place: str
    told: str


class Demand(Struct):
    """The bundle's pods, and what does not fit."""

    wanted: list[Wanted] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


def wanted(items: Iterable[Item]) -> list[Wanted]:
    found = []
    for item in items:
        made = _pods(item)
        if made is not None:
            path, count, pod = made
            view = json.convert({"metadata": {}, **pod}, views.Pod)
            found.append(Wanted(f"{item.place} {path}", count, view))
    return found


def _pods(item: Item) -> tuple[str, int, Object] | None:
    """Where the pod's spec stands, how many there are to be, and the template."""
    resource, spec = item.kind.resource, item.obj.get("spec") or {}
    if resource == kinds.POD.resource:
        return "spec", 1, {"spec": spec}
    if resource == kinds.CRON_JOB.resource:
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        return "spec.jobTemplate.spec.template.spec", 0, _template(job)
    if resource not in _TEMPLATED:
        return None
    name = _TEMPLATED[resource]
    count: Any = spec.get(name) if name else None
    return "spec.template.spec", 1 if count is None else int(count), _template(spec)


def _template(spec: Object) -> Object:
    template: Object = spec.get("template") or {}
    return {"spec": template.get("spec") or {"containers": []}}


def check(
    demand: Sequence[Wanted],
    node: views.Node,
    others: Iterable[pod_facts.PodFacts],
    reserved: Iterable[int] = (),
) -> list[Trouble]:
    """`others`: pods on the device that are not the bundle's. `reserved`: TCP ports of the device
    itself."""
    usage = scheduling.Usage()
    for pod in others:
        usage.add(pod)
    own = {("0.0.0.0", "TCP", port) for port in reserved}
    mine: dict[_Port, str] = {}
    troubles = []
    for each in demand:
        troubles += _placed(each, node)
        troubles += _ports(each, usage, own, mine)
    return troubles + _sums(demand, node, usage)


def _placed(each: Wanted, node: views.Node) -> list[Trouble]:
    spec = each.pod.spec
    if node_affinity.matches(spec.node_selector, spec.affinity, node):
        return []
    labels = node.metadata.labels
    wrong = [
        f"{name}={value}, but it is {labels.get(name, 'not set')} here"
        for name, value in sorted(spec.node_selector.items())
        if labels.get(name) != value
    ]
    told = (
        f"nodeSelector wants {'; '.join(wrong)}" if wrong else "nodeAffinity excludes this device"
    )
    return [Trouble(each.place, told)]


def _ports(
    each: Wanted, usage: scheduling.Usage, own: set[_Port], mine: dict[_Port, str]
) -> list[Trouble]:
    """Host ports are taken one after another, also by the bundle's own pods: `mine` says whose."""
    found = []
    for port in sorted(_host_ports(each.pod)):
        one, told = frozenset((port,)), f"{port[1]} hostPort {port[2]}"
        if scheduling.clash(one, own):
            found.append(Trouble(each.place, f"{told} is the device's own"))
        elif scheduling.clash(one, usage.ports):
            found.append(Trouble(each.place, f"{told} is taken"))
        elif other := next((mine[p] for p in mine if scheduling.clash(one, (p,))), ""):
            found.append(Trouble(each.place, f"{told} is what {other} asks for, too"))
        elif each.count > 1:
            found.append(Trouble(each.place, f"{told} can be had once, not {each.count} times"))
        if each.count:
            mine.setdefault(port, each.place)
    return found


def _host_ports(pod: views.Pod) -> frozenset[_Port]:
    """In the host's network every port is one of the host's (the API's defaults say so)."""
    found = scheduling.host_ports(pod)
    if pod.spec.host_network:
        found |= {
            (port.host_ip or "0.0.0.0", port.protocol, port.container_port)
            for container in pod.spec.containers
            for port in container.ports
        }
    return found


def _sums(demand: Sequence[Wanted], node: views.Node, usage: scheduling.Usage) -> list[Trouble]:
    allocatable = {n: quantity.parse(a).nano for n, a in node.status.allocatable.items()}
    sums: dict[str, int] = {}
    for each in demand:
        for name, amount in scheduling.requests(each.pod).items():
            # What runs at times needs its room then, alone.
            sums[name] = sums.get(name, 0) + amount * max(1, each.count)
    pods = sum(each.count for each in demand)
    troubles = []
    limit = allocatable.get(pod_resources.PODS)
    if limit is not None and usage.pods + pods > limit // quantity.NANO:
        told = f"{pods} pods and {usage.pods} others, but the device takes {limit // quantity.NANO}"
        troubles.append(Trouble("pods", told))
    for name, amount in sorted(sums.items()):
        limit, held = allocatable.get(name), usage.requests.get(name, 0)
        if limit is None:
            if amount and pod_resources.is_extended(name):
                troubles.append(Trouble(name, "this device has none"))
        elif amount and held + amount > limit:
            shown = [_shown(name, each) for each in (amount, held, limit)]
            told = (
                f"the bundle requests {shown[0]} and others hold {shown[1]}, "
                f"but the device has {shown[2]}"
            )
            troubles.append(Trouble(name, told))
    return troubles


def _shown(name: str, nano: int) -> str:
    if name in _UNITS:
        unit, size = _UNITS[name]
        return f"{-(-nano // size)}{unit}"
    amount = -(-nano // quantity.NANO)
    if name.startswith((pod_resources.MEMORY, pod_resources.STORAGE, pod_resources.HUGE_PAGES)):
        return f"{amount / (1 << 20):.0f}Mi"
    return str(amount)
