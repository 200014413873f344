"""Budgets count as Kubernetes counts, and nobody spends the same allowance twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeorch.core import disruption
from edgeorch.model import views, workloads
from tests.unit.core.owned_pods import SELECTOR, pod

Object = dict[str, Any]
STAMP = "2026-01-01T00:00:00Z"


def budget(status: Object | None = None, **spec: Any) -> workloads.Budget:
    meta = {"name": "web", "namespace": "default", "generation": 2}
    body = {"selector": SELECTOR, **spec}
    return msgspec.convert(
        {"metadata": meta, "spec": body, "status": status or {}}, workloads.Budget
    )


def owned(name: str, owner: str = "rs", **fields: Any) -> Any:
    ref = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner}
    return pod(name, ownerReferences=[{**ref, "controller": True}], **fields)


def sized(size: int | None) -> disruption.Scale:
    def scale(ref: views.OwnerReference) -> int | None:
        return size

    return scale


THREE = [owned("a"), owned("b"), owned("c")]


@pytest.mark.parametrize(
    ("spec", "pods", "size", "expected"),
    [
        pytest.param({"minAvailable": 2}, THREE, 3, (1, 3, 2, 3), id="number"),
        pytest.param({"minAvailable": 4}, THREE, 3, (0, 3, 4, 3), id="more than there are"),
        pytest.param({"minAvailable": "50%"}, THREE, 3, (1, 3, 2, 3), id="share, rounded up"),
        pytest.param({"minAvailable": "100%"}, THREE, 3, (0, 3, 3, 3), id="all"),
        pytest.param({"maxUnavailable": 1}, THREE, 3, (1, 3, 2, 3), id="one may go"),
        pytest.param({"maxUnavailable": "34%"}, THREE, 3, (2, 3, 1, 3), id="34% of 3 are 2"),
        pytest.param({"maxUnavailable": 0}, THREE, 3, (0, 3, 3, 3), id="none may go"),
        pytest.param({"maxUnavailable": 1}, THREE[:2], 3, (0, 2, 2, 3), id="one is gone already"),
        pytest.param(
            {"minAvailable": 2}, [*THREE[:2], owned("c", ready=False)], 3, (0, 2, 2, 3), id="not ok"
        ),
        pytest.param(
            {"minAvailable": 2}, [*THREE[:2], owned("c", leaving=True)], 3, (0, 2, 2, 3),
            id="leaving",
        ),
        pytest.param({"minAvailable": 0}, [], 0, (0, 0, 0, 0), id="no pods"),
        pytest.param({"maxUnavailable": 5}, THREE, 3, (3, 3, 0, 3), id="more than all"),
    ],
)  # fmt: skip
def test_counts(spec: Object, pods: list[Any], size: int, expected: tuple[int, ...]) -> None:
    found = budget(**spec)
    counted = disruption.expected(found, pods, sized(size))
    status = disruption.status(found, pods, counted, {}, STAMP)
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    assert tuple(status[field] for field in fields) == expected
    (condition,) = status["conditions"]
    wanted = ("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods")
    assert (condition["status"], condition["reason"]) == wanted


def test_each_workload_counts_once() -> None:
    pods = [owned("a", "one"), owned("b", "one"), owned("c", "two")]
    found = disruption.expected(budget(maxUnavailable=1), pods, sized(5))
    assert (found.pods, found.healthy) == (10, 9)


def test_pods_of_nobody_are_told() -> None:
    found = disruption.expected(budget(maxUnavailable=1), [pod("lone"), *THREE], sized(3))
    assert found.unmanaged == ("lone",)
    assert found.pods == 3


def test_a_workload_without_a_size_fails_safe() -> None:
    with pytest.raises(disruption.ScaleError, match=r"^replicasets\.apps does not implement"):
        disruption.expected(budget(maxUnavailable=1), THREE, sized(None))
    status = disruption.failed(budget(), {"status": {"disruptionsAllowed": 2}}, "why", STAMP)
    assert status["disruptionsAllowed"] == 0
    assert status["conditions"][0]["reason"] == "SyncFailed"


def test_an_eviction_under_way_counts_as_a_loss_until_it_is_given_up() -> None:
    noted = {"a": "then", "gone": "then"}
    found = budget({"disruptedPods": noted}, minAvailable=2)
    young = disruption.notes(found, THREE, lambda _: 20.0)
    assert (young.kept, young.given_up, young.again) == ({"a": "then"}, [], 100.0)
    counted = disruption.expected(found, THREE, sized(3))
    assert disruption.status(found, THREE, counted, young.kept, STAMP)["disruptionsAllowed"] == 0
    old = disruption.notes(found, THREE, lambda _: 121.0)
    assert (old.kept, old.given_up) == ({}, ["a"])


def test_a_condition_keeps_its_time() -> None:
    known = {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}
    found = budget({"conditions": [{**known, "lastTransitionTime": "before"}]}, minAvailable=2)
    counted = disruption.expected(found, THREE, sized(3))
    (condition,) = disruption.status(found, THREE, counted, {}, STAMP)["conditions"]
    assert condition["lastTransitionTime"] == "before"


FULL = {"observedGeneration": 2, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2}
SPENT = {**FULL, "disruptionsAllowed": 0, "currentHealthy": 2}
ALWAYS = {"unhealthyPodEvictionPolicy": "AlwaysAllow"}


@pytest.mark.parametrize(
    ("found", "budgets", "expected"),
    [
        pytest.param(pod("a"), [], disruption.Evict(), id="no budget"),
        pytest.param(pod("a"), [budget(FULL)], disruption.Evict("web"), id="allowed"),
        pytest.param(
            pod("a"), [budget(SPENT)],
            disruption.Refuse("The disruption budget web needs 2 healthy pods and has 2 currently"),
            id="refused",
        ),
        pytest.param(
            pod("a"), [budget({**FULL, "observedGeneration": 1})],
            disruption.Refuse(
                "The disruption budget web is still being processed by the server.", 10
            ),
            id="not counted yet",
        ),
        pytest.param(
            pod("a", phase="Succeeded"), [budget(SPENT)], disruption.Evict(), id="over"
        ),
        pytest.param(pod("a", phase="Pending"), [budget(SPENT)], disruption.Evict(), id="pending"),
        pytest.param(pod("a", leaving=True), [budget(SPENT)], disruption.Evict(), id="leaving"),
        pytest.param(
            pod("a", ready=False), [budget(SPENT)], disruption.Evict(), id="unready, others well"
        ),
        pytest.param(
            pod("a", ready=False), [budget({**SPENT, "currentHealthy": 1})],
            disruption.Refuse("The disruption budget web needs 2 healthy pods and has 1 currently"),
            id="unready, others too",
        ),
        pytest.param(
            pod("a", ready=False), [budget({**SPENT, "currentHealthy": 1}, **ALWAYS)],
            disruption.Evict(), id="unready, always allowed",
        ),
    ],
)  # fmt: skip
def test_evictions(found: Any, budgets: list[Any], expected: disruption.Verdict) -> None:
    assert disruption.judge(found, budgets) == expected


def test_two_budgets_are_one_too_many() -> None:
    assert isinstance(disruption.judge(pod("a"), [budget(FULL)] * 2), disruption.Impossible)


def test_an_allowance_is_spent_once() -> None:
    obj: Object = {"metadata": {"name": "web", "generation": 2}, "spec": {}, "status": dict(FULL)}
    after = disruption.spent(obj, "a", STAMP)
    assert after["status"]["disruptedPods"] == {"a": STAMP}
    again = disruption.judge(pod("b"), [workloads.budget_of(after)])
    assert isinstance(again, disruption.Refuse)


def test_without_a_selector_nobody_is_meant() -> None:
    meta: Object = {"metadata": {"name": "web"}}
    assert not disruption.selects(workloads.budget_of(meta), {"app": "web"})
    everybody = {**meta, "spec": {"selector": {}}}
    assert disruption.selects(workloads.budget_of(everybody), {"app": "web"})
