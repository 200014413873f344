"""The steps of rollouts, one observation at a time."""

from __future__ import annotations

import pytest
from msgspec import structs

from edgeorch.core import revisions, rollout, template_hash
from edgeorch.model import views
from tests.unit.core import workloads
from tests.unit.core.workloads import deployment, replica_set, rolling


@pytest.mark.parametrize(
    ("surge", "unavailable", "size", "expected"),
    [
        pytest.param("25%", "25%", 3, (1, 0), id="surge rounds up, unavailable down"),
        pytest.param("25%", "25%", 10, (3, 2), id="ten"),
        pytest.param(0, 0, 4, (0, 1), id="never both zero"),
        pytest.param("0%", "1%", 4, (0, 1), id="never both rounded to zero"),
        pytest.param(2, 1, 4, (2, 1), id="numbers"),
        pytest.param("100%", 0, 4, (4, 0), id="double"),
        pytest.param(0, 9, 4, (0, 4), id="no more than there are"),
    ],
)
def test_bounds(
    surge: int | str, unavailable: int | str, size: int, expected: tuple[int, int]
) -> None:
    found = deployment(size, strategy=rolling(surge, unavailable))
    assert (rollout.max_surge(found), rollout.max_unavailable(found)) == expected


def sizes(actions: list[rollout.Action]) -> dict[str, tuple[int, int]]:
    scaled = (each for each in actions if isinstance(each, rollout.ScaleReplicaSet))
    return {each.name: (each.old, each.new) for each in scaled}


def noted(found: views.ReplicaSet, size: int, most: int) -> views.ReplicaSet:
    both = {revisions.DESIRED: str(size), revisions.MAX: str(most)}
    return workloads.sized(found, found.spec.replicas, both)


def test_a_new_deployment_gets_its_replica_set_at_full_size() -> None:
    create, revision = rollout.plan(deployment(3), [])
    assert isinstance(create, rollout.CreateReplicaSet)
    assert (create.replicas, create.revision) == (3, "1")
    assert revision == rollout.SetRevision("1")


def test_a_change_starts_within_the_surge() -> None:
    old = noted(replica_set("web:1", 4, available=4, revision="1"), 4, 5)
    create, _ = rollout.plan(deployment(4, "web:2"), [old])
    assert isinstance(create, rollout.CreateReplicaSet)
    assert (create.replicas, create.revision) == (1, "2")


def test_unavailable_old_pods_go_first() -> None:
    wanted = deployment(4, "web:3", strategy=rolling(1, 1))
    sets = [
        noted(replica_set("web:1", 2, available=2, age=1, revision="1"), 4, 5),
        noted(replica_set("web:2", 1, available=0, age=2, revision="2"), 4, 5),
        noted(replica_set("web:3", 2, available=1, age=3, revision="3"), 4, 5),
    ]
    assert sizes(rollout.plan(wanted, sets)) == {"web-web-2": (1, 0)}


def test_resizing_in_mid_rollout_is_proportional() -> None:
    wanted = deployment(20, "web:2", strategy=rolling(3, 2))
    sets = [
        noted(replica_set("web:1", 8, available=8, age=1, revision="1"), 10, 13),
        noted(replica_set("web:2", 5, available=2, age=2, revision="2"), 10, 13),
    ]
    grown = sizes(rollout.plan(wanted, sets))
    assert grown == {"web-web-1": (8, 14), "web-web-2": (5, 9)}
    assert sum(new for _, new in grown.values()) == 23


def test_resizing_to_nothing_empties_all() -> None:
    sets = [
        noted(replica_set("web:1", 2, available=2, age=1, revision="1"), 4, 5),
        noted(replica_set("web:2", 3, available=1, age=2, revision="2"), 4, 5),
    ]
    assert sizes(rollout.plan(deployment(0, "web:2"), sets)) == {
        "web-web-1": (2, 0),
        "web-web-2": (3, 0),
    }


def test_recreate_waits_for_the_last_old_pod() -> None:
    wanted = deployment(2, "web:2", strategy={"type": "Recreate"})
    old = noted(replica_set("web:1", 2, available=2, revision="1"), 2, 2)
    assert sizes(rollout.plan(wanted, [old])) == {"web-web-1": (2, 0)}
    emptied = noted(replica_set("web:1", 0, revision="1"), 2, 2)
    assert rollout.plan(wanted, [emptied], old_pods_left=True) == []
    create, _ = rollout.plan(wanted, [emptied])
    assert isinstance(create, rollout.CreateReplicaSet)


def test_a_paused_deployment_only_scales() -> None:
    old = noted(replica_set("web:1", 3, available=3, revision="1"), 3, 4)
    actions = rollout.plan(deployment(5, "web:2", paused=True), [old])
    assert sizes(actions) == {"web-web-1": (3, 5)}
    assert len(actions) == 1


def test_change_cause_is_copied_and_going_back_keeps_history() -> None:
    cause = {"kubernetes.io/change-cause": "fix"}
    wanted = deployment(1)
    meta = structs.replace(wanted.metadata, annotations=cause | {revisions.REVISION: "2"})
    wanted = structs.replace(wanted, metadata=meta)
    current = replica_set("web:1", 1, revision="1")
    found = revisions.wanted_annotations(wanted, current, [replica_set("web:2", 0, revision="2")])
    assert found[revisions.REVISION] == "3"
    assert found[revisions.HISTORY] == "1"
    assert found["kubernetes.io/change-cause"] == "fix"


def test_a_deployment_that_goes_does_nothing_more() -> None:
    wanted = deployment(3)
    meta = structs.replace(wanted.metadata, deletion_timestamp=workloads.STAMP)
    assert rollout.plan(structs.replace(wanted, metadata=meta), []) == []


def test_templates_are_compared_without_hash_and_emptiness() -> None:
    one = workloads.template("web:1")
    labels = {"app": "web", "pod-template-hash": "x"}
    other = {**one, "metadata": {"labels": labels, "creationTimestamp": None}}
    assert template_hash.same(one, other)
    assert not template_hash.same(one, workloads.template("web:2"))
    assert template_hash.compute(one, None) == template_hash.compute(other, None)
    assert template_hash.compute(one, None) != template_hash.compute(one, 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x811C9DC5),
        (b"a", 0xE40C292C),
        (b"foobar", 0xBF9CF968),
    ],
    ids=["nothing", "a", "foobar"],
)
def test_the_hash_is_fnv_1a(data: bytes, expected: int) -> None:
    assert template_hash.fnv32a(data) == expected
