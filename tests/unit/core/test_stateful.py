"""A StatefulSet takes the next step, in order, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from edgeorch.core import history, stateful
from tests.unit.core.owned_pods import NOW, member, rolling, stateful_set, told

Object = dict[str, Any]
SAME = stateful.Revisions("new", "new")
ROLLING = stateful.Revisions("old", "new")
PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("fields", "pods", "expected"),
    [
        pytest.param({}, [], ["+0@new"], id="the first"),
        pytest.param({}, [member(0)], ["+1@new"], id="the next when the first is ready"),
        pytest.param({}, [member(0, ready=False)], [], id="waits for the one before"),
        pytest.param({}, [member(0, phase="Pending", ready=False)], [], id="waits while pending"),
        pytest.param({}, [member(1), member(2)], ["+0@new"], id="fills a gap"),
        pytest.param(
            {}, [member(0, leaving=True), member(1), member(2)], [], id="waits for the leaving"
        ),
        pytest.param(
            {},
            [member(0, phase="Failed", ready=False), member(1), member(2)],
            ["-0"],
            id="replaces what failed",
        ),
        pytest.param(PARALLEL, [], ["+0@new", "+1@new", "+2@new"], id="parallel: all at once"),
        pytest.param(
            PARALLEL, [member(0, ready=False)], ["+1@new", "+2@new"], id="parallel: does not wait"
        ),
        pytest.param({}, [member(n) for n in range(5)], ["-4"], id="gives up the last"),
        pytest.param(
            {},
            [member(0), member(1, ready=False), member(2), member(3)],
            [],
            id="does not shrink while one is broken",
        ),
        pytest.param(
            {}, [*(member(n) for n in range(3)), member(3, leaving=True)], [], id="one at a time"
        ),
        pytest.param(
            {},
            [*(member(n) for n in range(3)), member(3, ready=False)],
            ["-3"],
            id="the broken one itself may go",
        ),
        pytest.param(
            PARALLEL, [member(n) for n in range(5)], ["-4", "-3"], id="parallel: all beyond"
        ),
        pytest.param(
            {"ordinals": {"start": 5}},
            [member(0), member(5), member(6), member(7)],
            ["-0"],
            id="ordinals start elsewhere",
        ),
        pytest.param({"replicas": 0}, [member(0)], ["-0"], id="none"),
    ],
)
def test_size(fields: Object, pods: list[Any], expected: list[str]) -> None:
    wanted = stateful_set(fields.pop("replicas", 3), **fields)
    assert told(stateful.plan(wanted, pods, SAME, now=NOW)) == expected


OLD = [member(n, "old") for n in range(4)]


@pytest.mark.parametrize(
    ("fields", "pods", "expected"),
    [
        pytest.param({}, OLD, ["-3"], id="the last first"),
        pytest.param({}, [*OLD[:3], member(3, ready=False)], [], id="waits for it"),
        pytest.param({}, [*OLD[:3], member(3)], ["-2"], id="then the one before"),
        pytest.param({}, [member(n) for n in range(4)], [], id="done"),
        pytest.param(
            {"updateStrategy": rolling(partition=2)}, [*OLD[:2], member(2), member(3)], [],
            id="partition: the lower ones stay",
        ),
        pytest.param(
            {"updateStrategy": rolling(partition=2)}, [*OLD[1:2], member(2), member(3)],
            ["+0@old"], id="partition: a lost lower one comes back as it was",
        ),
        pytest.param(
            {"updateStrategy": rolling(partition=2)}, OLD[:3], ["+3@new"],
            id="partition: a lost upper one comes back new",
        ),
        pytest.param({"updateStrategy": {"type": "OnDelete"}}, OLD, [], id="OnDelete"),
        pytest.param(
            {"updateStrategy": {"type": "OnDelete"}}, OLD[:3], ["+3@new"],
            id="OnDelete: who deletes gets a new one",
        ),
        pytest.param(
            {"updateStrategy": rolling(maxUnavailable=2)}, OLD, ["-3", "-2"], id="two at once"
        ),
        pytest.param(
            {"updateStrategy": rolling(maxUnavailable="75%")}, OLD, ["-3", "-2", "-1"],
            id="three quarters at once",
        ),
        pytest.param(
            {"updateStrategy": rolling(maxUnavailable=2), **PARALLEL},
            [*OLD[:3], member(3, ready=False)], ["-2"], id="one is down, one more may go",
        ),
        pytest.param(
            {"updateStrategy": rolling(maxUnavailable=2), **PARALLEL},
            [member(0, "old", ready=False), member(1, "old", ready=False), *OLD[2:]],
            ["-1", "-0"], id="what is broken goes first, and nothing else",
        ),
    ],
)  # fmt: skip
def test_update(fields: Object, pods: list[Any], expected: list[str]) -> None:
    plan = stateful.plan(stateful_set(4, **fields), pods, ROLLING, now=NOW)
    assert told(plan) == expected


def test_min_ready_seconds_hold_the_next_back() -> None:
    wanted = stateful_set(minReadySeconds=int(NOW) + 1)
    assert stateful.plan(wanted, [member(0)], SAME, now=NOW) == []


def test_lost_labels_come_back() -> None:
    bare = member(0)
    labels = {"app": "web", history.LABEL: "new"}

    meta = structs.replace(bare.metadata, labels=labels)
    bare = structs.replace(bare, metadata=meta)
    pods = [bare, member(1), member(2)]
    assert told(stateful.plan(stateful_set(), pods, SAME, now=NOW)) == ["~0"]


def test_a_lost_status_is_read_off_the_pods() -> None:
    found = stateful.revisions(stateful_set(), "new", ["old", "new"], [member(2), OLD[0]])
    assert found == ROLLING
    assert stateful.revisions(stateful_set(), "new", ["old", "new"], []) == SAME
    kept = stateful_set(status={"currentRevision": "old"})
    assert stateful.revisions(kept, "new", ["old", "new"], [member(0)]) == ROLLING


@pytest.mark.parametrize(
    ("name", "ordinal"),
    [("web-0", 0), ("web-12", 12), ("web-012", None), ("web-x", None), ("web", None),
     ("other-0", None), ("web-1-0", None), ("web-99999999999", None), ("web--1", None)],
)  # fmt: skip
def test_ordinals(name: str, ordinal: int | None) -> None:
    assert stateful.ordinal_of("web", name) == ordinal


def test_status_counts_and_completes() -> None:
    rolling_on = stateful.status(stateful_set(), [OLD[0], OLD[1], member(2)], ROLLING, now=NOW)
    assert rolling_on["currentRevision"] == "old"
    assert (rolling_on["currentReplicas"], rolling_on["updatedReplicas"]) == (2, 1)
    done = stateful.status(stateful_set(), [member(n) for n in range(3)], ROLLING, now=NOW)
    assert (done["currentRevision"], done["updateRevision"]) == ("new", "new")
    assert done["currentReplicas"] == done["updatedReplicas"] == done["availableReplicas"] == 3


def owner(**policy: str) -> Object:
    meta = {"name": "web", "namespace": "default", "uid": "s"}
    spec = {"persistentVolumeClaimRetentionPolicy": policy}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}


@pytest.mark.parametrize(
    ("deleted", "scaled", "condemned", "expected"),
    [
        ("Retain", "Retain", False, []),
        ("Retain", "Retain", True, []),
        ("Delete", "Retain", False, ["StatefulSet"]),
        ("Delete", "Retain", True, ["StatefulSet"]),
        ("Retain", "Delete", False, []),
        ("Retain", "Delete", True, ["Pod"]),
        ("Delete", "Delete", False, ["StatefulSet"]),
        ("Delete", "Delete", True, ["Pod"]),
    ],
)
def test_claims_go_with_whom_the_policy_says(
    deleted: str, scaled: str, condemned: bool, expected: list[str]
) -> None:
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "uid": "p"}}
    bare: Object = {"metadata": {"name": "data-web-1"}}
    wanted = owner(whenDeleted=deleted, whenScaled=scaled)
    found = stateful.claim_owned(bare, wanted, pod, condemned=condemned)
    refs = found["metadata"].get("ownerReferences", [])
    assert [ref["kind"] for ref in refs] == expected
    assert stateful.claim_owned(found, wanted, pod, condemned=condemned) == found
    back = stateful.claim_owned(found, owner(), pod, condemned=False)
    assert "ownerReferences" not in back["metadata"]


def test_a_claim_of_somebody_else_is_left_alone() -> None:
    ref = {"kind": "Backup", "name": "b", "uid": "b", "controller": True}
    claim: Object = {"metadata": {"name": "data-web-1", "ownerReferences": [ref]}}
    wanted = owner(whenDeleted="Delete")
    assert stateful.claim_owned(claim, wanted, None, condemned=False) == claim


def test_a_pod_has_its_name_its_place_and_its_claims() -> None:
    spec = {
        "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"x": 1}}],
    }
    obj = {**owner(), "spec": spec}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [], "volumes": [{"name": "data"}, {"name": "tmp"}]},
    }
    pod = stateful.new_pod(obj, template, stateful.CreatePod(2, "web-r"))
    assert pod["metadata"]["labels"] == {
        "app": "web",
        "controller-revision-hash": "web-r",
        "statefulset.kubernetes.io/pod-name": "web-2",
        "apps.kubernetes.io/pod-index": "2",
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-2", "web")
    assert pod["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}},
        {"name": "tmp"},
    ]
    (claim,) = stateful.new_claims(obj, "web-2")
    assert claim["metadata"]["name"] == "data-web-2"
    assert claim["metadata"]["labels"] == {"app": "web"}
