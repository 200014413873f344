"""A DaemonSet keeps its one pod on the one node, and rolls it."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.core import daemon, history, pod_facts
from tests.unit.core.owned_pods import NOW, daemon_set, node, planned, pod

Object = dict[str, Any]
HERE, AWAY = daemon.Place(True, True), daemon.Place(False, False)
STAYS = daemon.Place(False, True)
SURGE = {
    "updateStrategy": {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("fields", "pods", "place", "expected"),
    [
        pytest.param({}, [], HERE, (True, [], []), id="makes it"),
        pytest.param({}, [], STAYS, (False, [], []), id="not where it may not"),
        pytest.param({}, [pod("a", "new")], STAYS, (False, [], []), id="may stay"),
        pytest.param({}, [pod("a", "new")], AWAY, (False, ["a"], []), id="must go"),
        pytest.param({}, [pod("a", "new")], HERE, (False, [], []), id="at rest"),
        pytest.param({}, [pod("a", "new", leaving=True)], HERE, (False, [], []), id="waits"),
        pytest.param(
            {}, [pod("b", "new", age=2), pod("a", "new", age=1)], HERE, (False, ["b"], []),
            id="the older of two stays",
        ),
        pytest.param(
            {}, [pod("a", "new", phase="Failed", ready=False)], HERE, (False, [], ["a"]),
            id="failed",
        ),
        pytest.param({}, [pod("a", "old")], HERE, (False, ["a"], []), id="rolls"),
        pytest.param(ON_DELETE, [pod("a", "old")], HERE, (False, [], []), id="OnDelete"),
        pytest.param(SURGE, [pod("a", "old")], HERE, (True, [], []), id="surge: new beside old"),
        pytest.param(
            SURGE, [pod("a", "old"), pod("b", "new", ready=False)], HERE, (False, [], []),
            id="surge: waits for the new",
        ),
        pytest.param(
            SURGE, [pod("a", "old"), pod("b", "new")], HERE, (False, ["a"], []),
            id="surge: then the old goes",
        ),
        pytest.param(
            SURGE, [pod("a", "old"), pod("b", "new"), pod("c", "new", age=3)], HERE,
            (False, ["c"], []), id="surge: no third",
        ),
        pytest.param(
            SURGE, [pod("a", "old", ready=False), pod("b", "old", age=1)], HERE,
            (False, ["a"], []), id="surge: of two old ones the one that serves stays",
        ),
        pytest.param(
            SURGE, [pod("a", "old", ready=False), pod("b", "new", ready=False)], HERE,
            (False, ["a"], []), id="surge: an old one that serves no more goes",
        ),
    ],
)  # fmt: skip
def test_plan(fields: Object, pods: list[Any], place: daemon.Place, expected: Any) -> None:
    assert planned(daemon.plan(daemon_set(**fields), pods, place, "new", now=NOW)) == expected


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": {"app": "mon"}}, "spec": {"containers": [], **spec}}


def requires(key: str, operator: str, *values: str) -> Object:
    wanted = {"key": key, "operator": operator, "values": list(values)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


NO_SCHEDULE, NO_EXECUTE = ("dedicated", "NoSchedule"), ("dedicated", "NoExecute")
ANY = [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("spec", "found", "expected"),
    [
        pytest.param({}, node(), HERE, id="anywhere"),
        pytest.param({}, None, AWAY, id="no node"),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, node(disk="ssd"), HERE, id="selected"),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, node(), AWAY, id="not selected"),
        pytest.param({"affinity": requires("disk", "Exists")}, node(disk="x"), HERE, id="affinity"),
        pytest.param({"affinity": requires("disk", "In", "y")}, node(disk="x"), AWAY, id="other"),
        pytest.param({"affinity": requires("n", "Gt", "3")}, node(n="4"), HERE, id="greater"),
        pytest.param({"nodeName": "elsewhere"}, node(), AWAY, id="named elsewhere"),
        pytest.param({}, node("edge", NO_SCHEDULE), STAYS, id="tainted: who is there may stay"),
        pytest.param({}, node("edge", NO_EXECUTE), AWAY, id="tainted: out"),
        pytest.param({"tolerations": ANY}, node("edge", NO_EXECUTE), HERE, id="tolerated"),
        pytest.param(
            {}, node("edge", ("node.kubernetes.io/unschedulable", "NoSchedule")), HERE, id="cordon"
        ),
        pytest.param(
            {}, node("edge", ("node.kubernetes.io/not-ready", "NoExecute")), HERE, id="not ready"
        ),
        pytest.param(
            {}, node("edge", ("node.kubernetes.io/network-unavailable", "NoSchedule")), STAYS,
            id="no network",
        ),
        pytest.param(
            {"hostNetwork": True},
            node("edge", ("node.kubernetes.io/network-unavailable", "NoSchedule")), HERE,
            id="no network, none needed",
        ),
    ],
)  # fmt: skip
def test_place(spec: Object, found: Any, expected: daemon.Place) -> None:
    assert daemon.place(template(**spec), found) == expected


def test_a_pod_is_bound_to_the_node_by_name() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet"}
    meta = {"name": "mon", "namespace": "default", "uid": "d"}
    body = template(affinity=requires("disk", "Exists"))
    made = daemon.new_pod({**owner, "metadata": meta}, body, "abc", "edge")
    required = made["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    name = {"key": "metadata.name", "operator": "In", "values": ["edge"]}
    assert required == {"nodeSelectorTerms": [{"matchFields": [name]}]}
    assert made["metadata"]["labels"] == {"app": "mon", history.LABEL: "abc"}
    assert len(made["spec"]["tolerations"]) == 6


def test_status() -> None:
    found = daemon.status(daemon_set(), [pod("a", "new")], HERE, "new", now=NOW)
    assert found == {
        "currentNumberScheduled": 1,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 1,
        "numberReady": 1,
        "observedGeneration": 1,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
    }
    stray = daemon.status(daemon_set(), [pod("a", "old")], AWAY, "new", now=NOW)
    assert (stray["numberMisscheduled"], stray["desiredNumberScheduled"]) == (1, 0)


def test_of_pods_of_one_second_one_that_serves_speaks_for_the_node() -> None:
    pods = [pod("a", "new", ready=False), pod("b", "old")]
    found = daemon.status(daemon_set(**SURGE), pods, HERE, "new", now=NOW)
    assert (found["numberReady"], found.get("numberAvailable")) == (1, 1)


_PODS = st.lists(
    st.tuples(
        st.sampled_from(["old", "new"]),
        st.sampled_from(["Running", "Pending", "Failed", "Succeeded"]),
        st.booleans(),
    ),
    max_size=4,
)


@hypothesis.settings(deadline=None)
@hypothesis.example([("old", "Running", False), ("old", "Running", True)], True, HERE)
@hypothesis.given(_PODS, st.booleans(), st.sampled_from([HERE, AWAY, STAYS]))
def test_it_converges(
    there: list[tuple[str, str, bool]], surging: bool, place: daemon.Place
) -> None:
    wanted = daemon_set(**(SURGE if surging else {}))
    pods = [
        pod(f"p{n}", revision, phase=phase, ready=phase == "Running" and ready, age=n)
        for n, (revision, phase, ready) in enumerate(there)
    ]
    for turn in range(30):
        plan = daemon.plan(wanted, pods, place, "new", now=NOW)
        assert plan == daemon.plan(wanted, pods, place, "new", now=NOW)
        gone = {each.metadata.name for each in (*plan.delete, *plan.over)}
        if surging and place == HERE:
            # The last available pod is never given up for one that is not.
            before = [p for p in pods if p.ready and p.active]
            after = [p for p in before if p.metadata.name not in gone]
            assert after or not before
        left = [aged(each) for each in pods if each.metadata.name not in gone]
        if plan.create:
            left.append(pod(f"n{turn}", "new", phase="Pending", ready=False, age=10 + turn))
        if not plan.create and not gone and left == pods:
            break
        pods = left
    else:
        raise AssertionError(f"never came to rest: {pods}")
    revisions = [each.metadata.labels[history.LABEL] for each in pods]
    if place == HERE:
        assert revisions == ["new"]
    elif place == AWAY:
        assert revisions == []


def aged(found: pod_facts.PodFacts) -> pod_facts.PodFacts:
    if found.terminal:
        return found
    meta = found.metadata
    age = int(meta.creation_timestamp[17:19])
    return pod(meta.name, meta.labels[history.LABEL], age=age)
