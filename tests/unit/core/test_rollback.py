"""A rollout that misses its deadline goes back once, to what was seen to work."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from edgeorch.core import deployment_status, revisions, rollback, template_hash
from edgeorch.model import views
from tests.unit.core import workloads

Object = dict[str, Any]
LATE = deployment_status.TIMED_OUT


def deployment(image: str = "web:2", **fields: Any) -> views.Deployment:
    noted = fields.pop("annotations", {rollback.ANNOTATION: "true"})
    found = workloads.deployment(3, image, progressDeadlineSeconds=60, **fields)
    meta = structs.replace(found.metadata, annotations=noted)
    return structs.replace(found, metadata=meta)


def replica_set(image: str, revision: int, *, proven: bool = True) -> views.ReplicaSet:
    found = workloads.replica_set(image, 0, age=revision, revision=str(revision))
    noted = {**found.metadata.annotations, **({rollback.PROVEN: "true"} if proven else {})}
    labels = {template_hash.LABEL: image.replace(":", "")}
    meta = structs.replace(found.metadata, annotations=noted, labels=labels)
    return structs.replace(found, metadata=meta)


GOOD, BAD = replica_set("web:1", 1), replica_set("web:2", 2, proven=False)


def target(found: rollback.RollBack | None) -> str | None:
    return found.target.metadata.name if found is not None else None


@pytest.mark.parametrize(
    ("wanted", "sets", "reason", "stalled", "expected"),
    [
        pytest.param(deployment(), [GOOD, BAD], LATE, 60.0, "web-web-1", id="goes back"),
        pytest.param(deployment(), [GOOD, BAD], LATE, 59.0, None, id="not before its time"),
        pytest.param(
            deployment(), [GOOD, BAD], "ReplicaSetUpdated", 60.0, None, id="not while it moves"
        ),
        pytest.param(
            deployment(), [replica_set("web:1", 1, proven=False), BAD], LATE, 60.0, None,
            id="nowhere to go",
        ),
        pytest.param(
            deployment(),
            [GOOD, replica_set("web:0", 3), replica_set("web:9", 2), BAD], LATE, 60.0, "web-web-0",
            id="to the latest that worked",
        ),
        pytest.param(
            deployment(),
            [GOOD, replica_set("web:9", 3, proven=False), BAD], LATE, 60.0, "web-web-1",
            id="past one that never did",
        ),
        pytest.param(deployment(paused=True), [GOOD, BAD], LATE, 60.0, None, id="paused"),
        pytest.param(
            deployment(annotations={rollback.TO_HASH: "web2"}), [GOOD, BAD], LATE, 60.0, None,
            id="never from where it went back to",
        ),
        pytest.param(
            deployment(annotations={rollback.TO_HASH: "web1"}), [GOOD, BAD], LATE, 60.0,
            "web-web-1", id="a newer push has its own chance",
        ),
        pytest.param(deployment("web:5"), [GOOD, BAD], LATE, 60.0, None, id="nothing made yet"),
    ],
)  # fmt: skip
def test_plan(wanted: Any, sets: Any, reason: str, stalled: float, expected: str | None) -> None:
    found = rollback.plan(wanted, sets, progressing=reason, stalled=stalled)
    assert target(found) == expected


@pytest.mark.parametrize(
    ("said", "default", "expected"),
    [
        (None, False, False),
        (None, True, True),
        ("true", False, True),
        ("false", True, False),
        ("nonsense", True, False),
    ],
)
def test_enabled(said: str | None, default: bool, expected: bool) -> None:
    noted = {} if said is None else {rollback.ANNOTATION: said}
    assert rollback.is_enabled(deployment(annotations=noted), default) is expected


def written(image: str = "web:2") -> Object:
    noted = {rollback.ANNOTATION: "true", "kubernetes.io/change-cause": "the new one"}
    meta = {"name": "web", "namespace": "default", "annotations": noted}
    return {"metadata": meta, "spec": {"template": workloads.template(image), "replicas": 3}}


def test_one_write_says_all() -> None:
    action = rollback.plan(deployment(), [GOOD, BAD], progressing=LATE, stalled=60.0)
    assert action is not None
    found = rollback.applied(written(), action)
    noted = found["metadata"]["annotations"]
    assert template_hash.same(found["spec"]["template"], GOOD.spec.template)
    assert template_hash.LABEL not in found["spec"]["template"]["metadata"]["labels"]
    assert noted[rollback.FAILED_REVISION] == "2"
    assert noted[rollback.FAILED_HASH] == "web2"
    assert noted[rollback.TO_HASH] == "web1"
    assert "kubernetes.io/change-cause" not in noted
    assert noted[rollback.REASON].startswith("Revision 2 (web-web-2) made no progress for 60 s")
    assert rollback.applied(found, action) == found


def test_a_newer_push_supersedes_it() -> None:
    action = rollback.plan(deployment(), [GOOD, BAD], progressing=LATE, stalled=60.0)
    assert action is not None
    newer = written("web:3")
    assert rollback.applied(newer, action) == newer


def test_it_never_loops() -> None:
    """What it went back to fails as well: it stays there."""
    action = rollback.plan(deployment(), [GOOD, BAD], progressing=LATE, stalled=60.0)
    assert action is not None
    noted = rollback.applied(written(), action)["metadata"]["annotations"]
    back = deployment("web:1", annotations=noted)
    others = [GOOD, BAD, replica_set("web:0", 3)]
    assert rollback.plan(back, others, progressing=LATE, stalled=600.0) is None


def test_the_condition_speaks_of_the_template_gone_back_to() -> None:
    noted = {rollback.TO_HASH: "web1", rollback.REASON: "because"}
    said = rollback.condition(deployment("web:1", annotations=noted), GOOD)
    assert said is not None
    assert (said.type, said.message) == ("RolledBack", "because")
    shown = rollback.with_condition([], said, "now")
    assert rollback.with_condition(shown, said, "later") == shown
    assert rollback.with_condition(shown, None, "later") == []
    assert rollback.condition(deployment("web:3", annotations=noted), BAD) is None


def test_what_has_worked_is_marked_once() -> None:
    whole = workloads.replica_set("web:2", 3, available=3, revision="2")
    counts = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "observedGeneration": 1}
    status = msgspec.convert(counts, views.DeploymentStatus)
    wanted = structs.replace(deployment(), status=status)
    assert rollback.to_prove(wanted, [GOOD, whole]) is whole
    marked = rollback.proven({"metadata": {"annotations": {"a": "b"}}})["metadata"]["annotations"]
    assert marked == {"a": "b", rollback.PROVEN: "true"}
    assert rollback.to_prove(deployment(), [GOOD, whole]) is None


def test_marks_are_not_handed_on() -> None:
    noted = {rollback.PROVEN: "true", rollback.TO_HASH: "x", "other": "y"}
    found = revisions.wanted_annotations(deployment(annotations=noted), None, [])
    assert found == {"other": "y", revisions.REVISION: "1"}
