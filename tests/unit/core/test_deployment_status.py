"""What a Deployment says of itself, and when."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from edgeorch.core import deployment_status
from edgeorch.model import views
from tests.unit.core.workloads import deployment, replica_set

NOW = "2026-01-01T01:00:00Z"
BEFORE = "2026-01-01T00:00:00Z"


def said(reason: str, status: str = "True") -> views.DeploymentStatus:
    condition = {
        "type": "Progressing",
        "status": status,
        "reason": reason,
        "message": "before",
        "lastUpdateTime": BEFORE,
        "lastTransitionTime": BEFORE,
    }
    counts = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 1, "availableReplicas": 1}
    return msgspec.convert({**counts, "conditions": [condition]}, views.DeploymentStatus)


def compute(
    available: int,
    status: views.DeploymentStatus,
    *,
    stalled: float = 0.0,
    created: str = "",
    **spec: Any,
) -> dict[str, Any]:
    found = structs.replace(deployment(3, **spec), status=status)
    sets = [replica_set("web:1", 3, available=available)]
    told = deployment_status.compute(found, sets, stalled=stalled, stamp=NOW, created=created)
    return {each["type"]: each for each in told["conditions"]}


@pytest.mark.parametrize(
    ("available", "before", "options", "reason", "message"),
    [
        pytest.param(
            1, views.DeploymentStatus(), {"created": "web-web-1"}, "NewReplicaSetCreated",
            'Created new replica set "web-web-1"', id="created",
        ),
        pytest.param(
            1, views.DeploymentStatus(), {}, "FoundNewReplicaSet",
            'Found new replica set "web-web-1"', id="found",
        ),
        pytest.param(
            2, said("NewReplicaSetCreated"), {"stalled": 900.0}, "ReplicaSetUpdated",
            'ReplicaSet "web-web-1" is progressing.', id="progress counts, however late",
        ),
        pytest.param(
            3, said("ReplicaSetUpdated"), {}, "NewReplicaSetAvailable",
            'ReplicaSet "web-web-1" has successfully progressed.', id="complete",
        ),
        pytest.param(
            1, said("ReplicaSetUpdated"), {"stalled": 600.0}, "ProgressDeadlineExceeded",
            'ReplicaSet "web-web-1" has timed out progressing.', id="overdue",
        ),
        pytest.param(
            1, said("ReplicaSetUpdated"), {"stalled": 599.0}, "ReplicaSetUpdated", "before",
            id="not yet overdue",
        ),
        pytest.param(
            1, said("NewReplicaSetAvailable"), {"stalled": 900.0}, "NewReplicaSetAvailable",
            "before", id="a complete one cannot time out",
        ),
        pytest.param(
            1, said("ReplicaSetUpdated"), {"paused": True, "stalled": 900.0}, "DeploymentPaused",
            "Deployment is paused", id="paused",
        ),
        pytest.param(
            1, said("DeploymentPaused", "Unknown"), {"stalled": 900.0}, "DeploymentResumed",
            "Deployment is resumed", id="resumed with its whole deadline",
        ),
        pytest.param(
            1, said("ProgressDeadlineExceeded", "False"),
            {"stalled": 900.0, "created": "web-web-1"},
            "NewReplicaSetCreated", 'Created new replica set "web-web-1"', id="a new try",
        ),
    ],
)  # fmt: skip
def test_progress(
    available: int,
    before: views.DeploymentStatus,
    options: dict[str, Any],
    reason: str,
    message: str,
) -> None:
    found = compute(available, before, **options)["Progressing"]
    assert (found["reason"], found["message"]) == (reason, message)


def test_progress_moves_the_update_but_not_the_transition() -> None:
    found = compute(2, said("ReplicaSetUpdated"))["Progressing"]
    assert (found["lastUpdateTime"], found["lastTransitionTime"]) == (NOW, BEFORE)


@pytest.mark.parametrize(
    ("available", "reason"),
    [(3, "MinimumReplicasAvailable"), (2, "MinimumReplicasUnavailable")],
    ids=["enough", "one too few"],
)
def test_availability(available: int, reason: str) -> None:
    assert compute(available, views.DeploymentStatus())["Available"]["reason"] == reason


def test_without_a_deadline_nothing_is_said_of_progress() -> None:
    assert "Progressing" not in compute(
        1, said("ReplicaSetUpdated"), progressDeadlineSeconds=2**31 - 1
    )


def test_trouble_of_a_replica_set_is_passed_on_and_taken_back() -> None:
    trouble = views.Condition(
        type="ReplicaFailure", status="True", reason="FailedCreate", message="no"
    )
    found = replica_set("web:1", 3)
    status = structs.replace(found.status, conditions=[trouble])
    wanted = deployment(3)
    told = deployment_status.compute(
        wanted, [structs.replace(found, status=status)], stalled=0.0, stamp=NOW
    )
    shown = {each["type"]: each for each in told["conditions"]}
    assert shown["ReplicaFailure"]["message"] == "no"
    after = structs.replace(wanted, status=msgspec.convert(told, views.DeploymentStatus))
    again = deployment_status.compute(after, [found], stalled=0.0, stamp=NOW)
    assert "ReplicaFailure" not in {each["type"] for each in again["conditions"]}
