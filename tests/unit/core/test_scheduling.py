"""Whether a pod fits, in the scheduler's words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeorch.core import pod_facts, scheduling
from edgeorch.model import views

Object = dict[str, Any]


def node(**spec: Any) -> views.Node:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "3"}
    found = {
        "metadata": {"name": "edge", "labels": {"disk": "ssd"}},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }
    return msgspec.convert(found, views.Node)


def pod(*requests: Object, **spec: Any) -> pod_facts.PodFacts:
    containers = [
        {"name": f"c{number}", "resources": {"requests": each}}
        for number, each in enumerate(requests)
    ]
    found = {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}
    return msgspec.convert(found, pod_facts.PodFacts)


def held(*pods: pod_facts.PodFacts) -> scheduling.Usage:
    usage = scheduling.Usage()
    for each in pods:
        usage.add(each)
    return usage


def on_port(number: int, **spec: Any) -> pod_facts.PodFacts:
    ports = [{"containerPort": 80, "hostPort": number}]
    return pod(containers=[{"name": "main", "ports": ports}], **spec)


BOUND = pod({"cpu": "1500m", "memory": "512Mi"}, nodeName="edge")
TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
SOFT = {**TAINT, "effect": "PreferNoSchedule"}
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "gpu"}
CORDON = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}


@pytest.mark.parametrize(
    ("wanted", "where", "usage", "reasons"),
    [
        pytest.param(pod({"cpu": "500m"}), node(), held(BOUND), None, id="just fits"),
        pytest.param(
            pod({"cpu": "501m"}), node(), held(BOUND), ["Insufficient cpu"], id="cpu is short"
        ),
        pytest.param(
            pod({"cpu": "1", "memory": "600Mi"}),
            node(),
            held(BOUND),
            ["Insufficient cpu", "Insufficient memory"],
            id="both are short",
        ),
        pytest.param(pod(), node(), held(*[BOUND] * 3), ["Too many pods"], id="three are enough"),
        pytest.param(pod(), node(), held(BOUND), None, id="asks for nothing"),
        pytest.param(
            pod({"example.com/gpu": "1"}),
            node(),
            held(),
            ["Insufficient example.com/gpu"],
            id="unknown resource",
        ),
        pytest.param(
            pod(), node(unschedulable=True), held(), ["node(s) were unschedulable"], id="cordoned"
        ),
        pytest.param(
            pod(tolerations=[CORDON]), node(unschedulable=True), held(), None, id="cordon tolerated"
        ),
        pytest.param(
            pod(),
            node(taints=[TAINT]),
            held(),
            ["node(s) had untolerated taint {dedicated: gpu}"],
            id="tainted",
        ),
        pytest.param(
            pod(tolerations=[TOLERATION]), node(taints=[TAINT]), held(), None, id="taint tolerated"
        ),
        pytest.param(
            pod(tolerations=[{"operator": "Exists"}]),
            node(taints=[TAINT]),
            held(),
            None,
            id="everything tolerated",
        ),
        pytest.param(pod(), node(taints=[SOFT]), held(), None, id="a preference"),
        pytest.param(
            pod(nodeSelector={"disk": "hdd"}),
            node(),
            held(),
            ["node(s) didn't match Pod's node affinity/selector"],
            id="another disk",
        ),
        pytest.param(pod(nodeSelector={"disk": "ssd"}), node(), held(), None, id="this disk"),
        pytest.param(
            on_port(80),
            node(),
            held(on_port(80, nodeName="edge")),
            ["node(s) didn't have free ports for the requested pod ports"],
            id="port is taken",
        ),
        pytest.param(
            on_port(81), node(), held(on_port(80, nodeName="edge")), None, id="another port"
        ),
    ],
)
def test_fit(
    wanted: pod_facts.PodFacts,
    where: views.Node,
    usage: scheduling.Usage,
    reasons: list[str] | None,
) -> None:
    refusal = scheduling.fit(wanted, where, usage)
    assert (refusal.reasons if refusal is not None else None) == reasons


def test_what_is_taken_out_leaves_nothing() -> None:
    usage = held(BOUND, on_port(80, nodeName="edge"))
    usage.add(BOUND, -1)
    usage.add(on_port(80, nodeName="edge"), -1)
    assert usage.pods == 0
    assert not usage.ports
    assert not any(usage.requests.values())


def test_sidecars_add_to_what_starts_after_them() -> None:
    def container(name: str, cpu: str, **more: str) -> Object:
        return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}

    found = pod(
        {"cpu": "1"},
        initContainers=[
            container("first", "1500m"),
            container("sidecar", "1", restartPolicy="Always"),
            container("second", "2"),
        ],
        overhead={"cpu": "100m"},
    )
    assert scheduling.requests(found) == {"cpu": 3_100_000_000}


def test_a_refusal_says_whether_others_could_make_room() -> None:
    told = scheduling.Refusal(["Too many pods", "Insufficient cpu"], resolvable=True).message()
    assert told == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods. preemption: "
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    larger_than_the_node = scheduling.fit(pod({"cpu": "3"}), node(), held())
    assert larger_than_the_node is not None
    assert "Preemption is not helpful" in larger_than_the_node.message()
