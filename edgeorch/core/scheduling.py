"""Whether a pod fits the node, in the scheduler's own words.

The filters run in Kubernetes' order and the first one that refuses speaks: cordon, taints, node
selector, host ports, resources, who else is there. A resource is never promised twice: what counts
is the sum of requests of the pods that are bound and not over. As pkg/scheduler/framework/plugins.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from edgeorch.core import node_affinity, pod_affinity, pod_facts
from edgeorch.lib import quantity
from edgeorch.model import pod_resources, views

CPU, MEMORY, STORAGE, PODS = (
    pod_resources.CPU,
    pod_resources.MEMORY,
    pod_resources.STORAGE,
    pod_resources.PODS,
)
_CORDON = views.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_HARD = ("NoSchedule", "NoExecute")

NO_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
NO_PORTS = "node(s) didn't have free ports for the requested pod ports"
DEFAULT = "default-scheduler"

Pod = pod_facts.PodFacts | views.Pod

Ports = frozenset[tuple[str, str, int]]
"""Host address, protocol, port."""


class Refusal(Struct, frozen=True):
    """Why not. `resolvable`: it would help if other pods went away. `whole`: said of the pod
    itself, not of nodes."""

    reasons: list[str]
    resolvable: bool = False
    whole: bool = False

    def message(self) -> str:
        """What the event and the PodScheduled condition say."""
        count = "" if self.whole else "1 "
        told = ", ".join(sorted(f"{count}{reason}" for reason in self.reasons))
        helps = "1 Preemption is not helpful for scheduling."
        if self.resolvable:
            helps = "1 No preemption victims found for incoming pod."
        return f"0/1 nodes are available: {told}. preemption: 0/1 nodes are available: {helps}"


NO_NODES = "no nodes available to schedule pods"
GATED = "Scheduling is blocked due to non-empty scheduling gates"


class Usage(Struct):
    """What bound pods hold: nano units by resource, their number, their host ports."""

    requests: dict[str, int] = field(default_factory=dict)
    pods: int = 0
    ports: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def add(self, pod: Pod, sign: int = 1) -> None:
        """Take a pod in, or out with a `sign` of -1; it counts while it is bound and not over."""
        if not pod.spec.node_name or pod.terminal:
            return
        self.pods += sign
        for port in host_ports(pod):
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]
        for name, amount in requests(pod).items():
            self.requests[name] = self.requests.get(name, 0) + sign * amount


def requests(pod: Pod) -> dict[str, int]:
    """What the pod asks for, in nano units."""
    return pod_resources.requests(pod.spec)


def host_ports(pod: Pod) -> Ports:
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    return frozenset(
        (port.host_ip or "0.0.0.0", port.protocol, port.host_port)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.host_port
    )


def fit(
    pod: pod_facts.PodFacts,
    node: views.Node,
    held: Usage,
    near: pod_affinity.Neighbours = pod_affinity.NOBODY,
) -> Refusal | None:
    """None when the pod may run on the node beside those that hold `held`."""
    if node.spec.unschedulable and not tolerates(pod, _CORDON):
        return Refusal(["node(s) were unschedulable"])
    for taint in node.spec.taints:
        if taint.effect in _HARD and not tolerates(pod, taint):
            return Refusal([f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"])
    if not node_affinity.matches(pod.spec.node_selector, pod.spec.affinity, node):
        return Refusal([NO_AFFINITY])
    if clash(host_ports(pod), held.ports):
        return Refusal([NO_PORTS], resolvable=True)
    short = _room(pod, node, held)
    if short is not None:
        return short
    alone = pod_affinity.refusal(pod, node, near)
    return Refusal([alone.reason], alone.resolvable) if alone is not None else None


def tolerates(pod: Pod, taint: views.Taint) -> bool:
    return any(matches(each, taint) for each in pod.spec.tolerations)


def matches(toleration: views.Toleration, taint: views.Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def clash(wanted: Ports, held: Iterable[tuple[str, str, int]]) -> bool:
    """The same port on the same address; 0.0.0.0 is every address."""
    anywhere = "0.0.0.0"
    for address, protocol, port in wanted:
        for other, other_protocol, other_port in held:
            overlap = address == other or anywhere in (address, other)
            if overlap and (protocol, port) == (other_protocol, other_port):
                return True
    return False


def _room(pod: pod_facts.PodFacts, node: views.Node, held: Usage) -> Refusal | None:
    allocatable = {n: quantity.parse(a).nano for n, a in node.status.allocatable.items()}
    reasons = []
    if PODS in allocatable and held.pods + 1 > allocatable[PODS] // quantity.NANO:
        reasons.append("Too many pods")
    for name, amount in requests(pod).items():
        # A node that does not state a resource has none of it, but basic ones may be unmeasured.
        limit = allocatable.get(name)
        if limit is None:
            if amount and name not in (CPU, MEMORY, STORAGE):
                reasons.append(f"Insufficient {name}")
        elif amount and held.requests.get(name, 0) + amount > limit:
            reasons.append(f"Insufficient {name}")
    # More than the whole node has will not fit however many pods go.
    resolvable = all(allocatable.get(n, 0) >= a for n, a in requests(pod).items())
    return Refusal(reasons, resolvable) if reasons else None


def order(pod: pod_facts.PodFacts) -> tuple[int, str, str]:
    """Pods that wait are tried by priority, then by age."""
    return -pod.spec.priority, pod.metadata.creation_timestamp, pod.metadata.name
