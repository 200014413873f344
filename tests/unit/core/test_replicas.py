"""Which pods go first, and what a ReplicaSet says of them."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.core import replicas
from tests.unit.core.workloads import STAMP, pod, replica_set

COST = {"controller.kubernetes.io/pod-deletion-cost": "-5"}


@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"node": "", "phase": "Pending", "ready": False}, id="unassigned"),
        pytest.param({"phase": "Pending", "ready": False}, id="pending"),
        pytest.param({"ready": False}, id="not ready"),
        pytest.param({"annotations": COST}, id="cheap to delete"),
        pytest.param({"since": 50.0}, id="ready for a shorter time"),
        pytest.param({"restarts": 3}, id="restarted more often"),
        pytest.param({"creationTimestamp": "2026-02-01T00:00:00Z"}, id="younger"),
    ],
)
def test_who_goes_first(first: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    pods = [
        pod("a", **usual),
        pod("b", **{**usual, **first}),
        pod("c", **usual),
    ]
    assert [each.metadata.name for each in replicas.rank(pods)] == ["b", "a", "c"]
    (chosen,) = replicas.plan(2, pods).delete
    assert chosen.metadata.name == "b"


def test_pods_that_are_over_or_going_do_not_count() -> None:
    pods = [pod("a"), pod("b", phase="Failed"), pod("c", deletionTimestamp=STAMP)]
    assert replicas.plan(2, pods) == replicas.Plan(create=1)
    assert replicas.plan(1, pods) == replicas.Plan()


def test_status_counts_on_the_monotonic_clock() -> None:
    pods = [
        pod("a", since=90.0),
        pod("b", since=99.0),
        pod("c", ready=False),
        pod("d", deletionTimestamp=STAMP),
    ]
    found = replica_set("web:1", 3)
    found = type(found)(
        metadata=found.metadata,
        spec=type(found.spec)(replicas=3, template=found.spec.template, min_ready_seconds=5),
    )
    assert replicas.status(found, pods, None, now=100.0, stamp=STAMP) == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 1,
        "observedGeneration": 1,
    }
    assert replicas.next_available(pods, 100.0, 5) == 4.0
    assert replicas.next_available(pods, 104.0, 5) is None


def test_a_failure_is_said_until_it_is_over() -> None:
    found = replica_set("web:1", 1)
    failure = replicas.Failure("FailedCreate", "no room")
    (said,) = replicas.status(found, [], failure, now=0.0, stamp=STAMP)["conditions"]
    assert said == {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": STAMP,
        "reason": "FailedCreate",
        "message": "no room",
    }
    assert "conditions" not in replicas.status(found, [], None, now=0.0, stamp=STAMP)


_PODS = st.lists(
    st.tuples(
        st.sampled_from(["Pending", "Running", "Failed", "Succeeded"]), st.booleans(), st.booleans()
    ),
    max_size=8,
)


@hypothesis.given(st.integers(0, 8), _PODS)
def test_one_plan_is_enough_from_anywhere(wanted: int, found: list[tuple[str, bool, bool]]) -> None:
    pods = []
    for n, (phase, ready, gone) in enumerate(found):
        meta: dict[str, Any] = {"deletionTimestamp": STAMP} if gone else {}
        pods.append(pod(f"p{n}", phase=phase, ready=ready and phase == "Running", **meta))
    plan = replicas.plan(wanted, pods)
    assert plan == replicas.plan(wanted, pods)
    assert not (plan.create and plan.delete)
    chosen = {each.metadata.name for each in plan.delete}
    assert all(each.active for each in plan.delete)
    left = [each for each in pods if each.metadata.name not in chosen]
    # What does not serve goes before what does.
    if any(each.ready for each in plan.delete):
        assert all(each.ready for each in left if each.active)
    after = [*left, *(pod(f"new{n}", phase="Pending", ready=False) for n in range(plan.create))]
    assert sum(each.active for each in after) == wanted
    assert replicas.plan(wanted, after) == replicas.Plan()
