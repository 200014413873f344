"""Beside whom a pod may stand, how long taints let it, and what the node itself refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import admission, pod_affinity, pod_facts, scheduling, taints
from edgeorch.core.pod_affinity import AFFINITY, ANTI_AFFINITY, OTHERS_ANTI_AFFINITY
from edgeorch.model import views

Object = dict[str, Any]
HOST = "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SPREAD = "node(s) didn't match pod topology spread constraints"


def node(*taint: Object, allocatable: Object | None = None, **amounts: str) -> views.Node:
    found = {
        "metadata": {"name": "edge", "labels": {HOST: "edge"}},
        "spec": {"taints": list(taint)},
        "status": {"allocatable": allocatable or amounts},
    }
    return msgspec.convert(found, views.Node)


def pod(name: str = "p", app: str = "", namespace: str = "ns", **spec: Any) -> pod_facts.PodFacts:
    meta = {"name": name, "uid": name, "namespace": namespace}
    labels = {"labels": {"app": app}} if app else {}
    return msgspec.convert({"metadata": {**meta, **labels}, "spec": spec}, pod_facts.PodFacts)


def term(app: str, **more: Any) -> Object:
    return {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": app}}, **more}


def beside(*terms: Object) -> Object:
    return {"affinity": {"podAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: Object) -> Object:
    return {"affinity": {"podAntiAffinity": {REQUIRED: list(terms)}}}


def spread(skew: int = 1, **more: Any) -> Object:
    rule = {"maxSkew": skew, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule"}
    rule["labelSelector"] = {"matchLabels": {"app": "web"}}
    return {"topologySpreadConstraints": [{**rule, **more}]}


WEB, DB = pod("web-0", "web"), pod("db-0", "db")
NAMESPACES = {"ns": {"team": "a"}, "other": {"team": "b"}}
ELSEWHERE = pod("web-1", "web", "other")


@pytest.mark.parametrize(
    ("wanted", "there", "reason"),
    [
        pytest.param(pod(**beside(term("web"))), [WEB], None, id="with whom it wants to be"),
        pytest.param(pod(**beside(term("web"))), [DB], AFFINITY, id="nobody to be with"),
        pytest.param(pod(app="web", **beside(term("web"))), [], None, id="the first of its kind"),
        pytest.param(
            pod(**beside(term("web"), term("db"))), [WEB, DB], AFFINITY, id="one that is both"
        ),
        pytest.param(
            pod(**beside(term("web", topologyKey="zone"))),
            [WEB],
            AFFINITY,
            id="no such place",
        ),
        pytest.param(pod(**beside(term("web"))), [ELSEWHERE], AFFINITY, id="its own namespace"),
        pytest.param(
            pod(**beside(term("web", namespaces=["other"]))), [ELSEWHERE], None, id="one named"
        ),
        pytest.param(
            pod(**beside(term("web", namespaceSelector={"matchLabels": {"team": "b"}}))),
            [ELSEWHERE],
            None,
            id="one selected",
        ),
        pytest.param(
            pod(**beside(term("web", namespaceSelector={}))), [ELSEWHERE], None, id="all of them"
        ),
        pytest.param(pod(**apart(term("web"))), [WEB], ANTI_AFFINITY, id="will not be beside it"),
        pytest.param(pod(**apart(term("web"))), [DB, ELSEWHERE], None, id="these are others"),
        pytest.param(
            pod(**apart(term("web", topologyKey="zone"))), [WEB], None, id="apart in no place"
        ),
        pytest.param(
            pod(app="web"),
            [pod("shy", **apart(term("web")))],
            OTHERS_ANTI_AFFINITY,
            id="is not wanted there",
        ),
        pytest.param(
            pod(app="web", **apart(term("x", matchLabelKeys=["app"]))), [WEB], None, id="both keys"
        ),
        pytest.param(
            pod(
                app="web",
                **apart({"topologyKey": HOST, "labelSelector": {}, "matchLabelKeys": ["app"]}),
            ),
            [WEB],
            ANTI_AFFINITY,
            id="alike by a key",
        ),
        pytest.param(
            pod(
                app="web",
                **apart({"topologyKey": HOST, "labelSelector": {}, "mismatchLabelKeys": ["app"]}),
            ),
            [WEB],
            None,
            id="unlike by a key",
        ),
        pytest.param(pod(app="web", **spread()), [WEB, WEB], None, id="one place is even"),
        pytest.param(
            pod(app="web", **spread(topologyKey="zone")),
            [],
            f"{SPREAD} (missing required label)",
            id="spread over places without name",
        ),
        pytest.param(
            pod(app="web", **spread(topologyKey="zone", whenUnsatisfiable="ScheduleAnyway")),
            [],
            None,
            id="a preference",
        ),
        pytest.param(pod(app="web", **spread(minDomains=2)), [WEB], SPREAD, id="too few places"),
        pytest.param(pod(app="web", **spread(2, minDomains=2)), [WEB], None, id="enough skew"),
    ],
)
def test_who_else_is_there(
    wanted: pod_facts.PodFacts, there: list[pod_facts.PodFacts], reason: str | None
) -> None:
    near = pod_affinity.Neighbours(there, NAMESPACES)
    refusal = scheduling.fit(wanted, node(), scheduling.Usage(), near)

    assert (refusal.reasons if refusal else None) == ([reason] if reason else None)


def test_a_pod_is_no_neighbour_of_itself() -> None:
    alone = pod(app="web", **apart(term("web")))

    assert pod_affinity.refusal(alone, node(), pod_affinity.Neighbours([alone])) is None
    assert pod_affinity.concerned(alone)
    assert not pod_affinity.concerned(WEB)


TAINT = {"key": "wet", "value": "yes", "effect": "NoExecute"}


def tolerating(*tolerations: Object) -> pod_facts.PodFacts:
    return pod(tolerations=list(tolerations))


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0.0),
        ([{"key": "wet", "operator": "Exists"}], None),
        ([{"key": "wet", "operator": "Exists", "tolerationSeconds": 30}], 30.0),
        ([{"key": "wet", "operator": "Exists", "tolerationSeconds": -5}], 0.0),
        ([{"key": "wet", "value": "no", "tolerationSeconds": 30}], 0.0),
        ([{"operator": "Exists", "effect": "NoSchedule"}], 0.0),
    ],
)
def test_how_long_a_taint_lets_it_stay(tolerations: list[Object], seconds: float | None) -> None:
    taint = [msgspec.convert(TAINT, views.Taint)]

    assert taints.stay(tolerating(*tolerations), taint) == seconds


@given(st.lists(st.integers(0, 9), max_size=4), st.integers(0, 3))
def test_the_shortest_leave_counts(seconds: list[int], strangers: int) -> None:
    listed = [
        views.Taint(key=f"t{index}", effect="NoExecute")
        for index in range(len(seconds) + strangers)
    ]
    tolerations = [
        {"key": f"t{index}", "operator": "Exists", "tolerationSeconds": each}
        for index, each in enumerate(seconds)
    ]
    wanted = 0 if strangers else min(seconds, default=None)

    assert taints.stay(tolerating(*tolerations), listed) == wanted
    assert taints.stay(pod(), [views.Taint(key="x", effect="NoSchedule")]) is None


# --- admission ----------------------------------------------------------------------------------


def named(*requests: Object, **spec: Any) -> views.Pod:
    containers = [
        {"name": f"c{number}", "resources": {"requests": each}}
        for number, each in enumerate(requests)
    ]
    found = {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}
    return msgspec.convert({**found, "status": {}}, views.Pod)


GPS = "devices.edgeorch.io/gps"
SHORT = "Node didn't have enough resource:"
UNAVAILABLE = "Allocate failed due to requested number of devices unavailable"
LARGE = named({"cpu": "1500m", "memory": "512Mi"}, nodeName="edge")


@pytest.mark.parametrize(
    ("wanted", "where", "reason", "told"),
    [
        (
            named({"cpu": "600m"}),
            node(cpu="2", memory="1Gi", pods="9"),
            "OutOfcpu",
            f"{SHORT} cpu, requested: 600, used: 1500, capacity: 2000",
        ),
        (
            named({"memory": "1Gi"}),
            node(cpu="2", memory="1Gi", pods="9"),
            "OutOfmemory",
            f"{SHORT} memory, requested: 1073741824, used: 536870912, capacity: 1073741824",
        ),
        (
            named(),
            node(cpu="2", memory="1Gi", pods="1"),
            "OutOfpods",
            f"{SHORT} pods, requested: 1, used: 1, capacity: 1",
        ),
        (
            named({"example.com/fpga": "1"}),
            node(allocatable={"pods": "9", "example.com/fpga": "0"}),
            "OutOfexample.com/fpga",
            f"{SHORT} example.com/fpga, requested: 1, used: 0, capacity: 0",
        ),
        # Of what the node knows nothing it counts nothing.
        (named({"example.com/fpga": "1"}), node(pods="9"), "", ""),
        (
            named({GPS: "1"}),
            node(allocatable={"pods": "9", GPS: "0"}),
            "UnexpectedAdmissionError",
            f"{UNAVAILABLE} for {GPS}. Requested: 1, Available: 0, which is unexpected",
        ),
        (
            named(nodeSelector={"disk": "ssd"}),
            node(),
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            named(),
            node(TAINT),
            "TaintToleration",
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
        ),
        (named(), node({**TAINT, "effect": "NoSchedule"}), "", ""),
        (named({"cpu": "500m"}), node(cpu="2", memory="1Gi", pods="2"), "", ""),
    ],
)
def test_what_the_node_refuses(
    wanted: views.Pod, where: views.Node, reason: str, told: str
) -> None:
    held = scheduling.Usage()
    held.add(LARGE)
    said = admission.refusal(wanted, where, held)

    assert said == ((reason, told) if reason else None)
