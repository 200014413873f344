"""Whether the node takes a pod in that names it, past the scheduler; else it fails, and says why.

As pkg/kubelet/lifecycle/predicate.go and the device manager's admission. The first reason speaks.
"""

from __future__ import annotations

from edgeorch.core import node_affinity, scheduling
from edgeorch.lib import quantity
from edgeorch.model import pod_resources, views

DEVICES = "devices.edgeorch.io/"
"""Of the resources that this node hands out itself."""


def refusal(pod: views.Pod, node: views.Node, held: scheduling.Usage) -> tuple[str, str] | None:
    """Reason and message; None when there is room beside those that hold `held`."""
    return _insufficient(pod, node, held) or _misplaced(pod, node, held) or _devices(pod, node)


def _insufficient(
    pod: views.Pod, node: views.Node, held: scheduling.Usage
) -> tuple[str, str] | None:
    allocatable = {n: quantity.parse(a).nano for n, a in node.status.allocatable.items()}
    wanted = {"pods": quantity.NANO, **pod_resources.requests(pod.spec)}
    used = {"pods": held.pods * quantity.NANO, **held.requests}
    order = [pod_resources.PODS, pod_resources.CPU, pod_resources.MEMORY, pod_resources.STORAGE]
    for name in [*order, *sorted(wanted.keys() - set(order))]:
        amount, most = wanted.get(name, 0), allocatable.get(name)
        # What the node does not have at all is not its to count.
        if not amount or most is None or name.startswith(DEVICES):
            continue
        if used.get(name, 0) + amount > most:
            shown = [_shown(name, each) for each in (amount, used.get(name, 0), most)]
            told = (
                f"Node didn't have enough resource: {name}, requested: {shown[0]}, "
                f"used: {shown[1]}, capacity: {shown[2]}"
            )
            return f"OutOf{name}", told
    return None


def _shown(name: str, nano: int) -> int:
    return -(-nano // (quantity.NANO // 1000 if name == pod_resources.CPU else quantity.NANO))


def _misplaced(pod: views.Pod, node: views.Node, held: scheduling.Usage) -> tuple[str, str] | None:
    spec = pod.spec
    if not node_affinity.matches(spec.node_selector, spec.affinity, node):
        return _predicate("NodeAffinity", scheduling.NO_AFFINITY)
    if scheduling.clash(scheduling.host_ports(pod), held.ports):
        return _predicate("NodePorts", scheduling.NO_PORTS)
    for taint in node.spec.taints:
        if taint.effect == "NoExecute" and not scheduling.tolerates(pod, taint):
            told = "node(s) had taints that the pod didn't tolerate"
            return _predicate("TaintToleration", told)
    return None


def _predicate(name: str, why: str) -> tuple[str, str]:
    return name, f"Predicate {name} failed: {why}"


def _devices(pod: views.Pod, node: views.Node) -> tuple[str, str] | None:
    """Devices that no configuration has, or that are not there."""
    for name, amount in sorted(pod_resources.requests(pod.spec).items()):
        if not name.startswith(DEVICES):
            continue
        there = quantity.parse(node.status.allocatable.get(name, "0")).value()
        asked = amount // quantity.NANO
        if asked > there:
            return "UnexpectedAdmissionError", (
                f"Allocate failed due to requested number of devices unavailable for {name}. "
                f"Requested: {asked}, Available: {there}, which is unexpected"
            )
    return None
