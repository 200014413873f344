"""StatefulSets, DaemonSets, ReplicationControllers, revisions and budgets: rules and tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from edgeorch.model import kinds, tables, validation
from edgeorch.model.kinds import Object

from . import made

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
STS, DS, RC = kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICATION_CONTROLLER
PDB = kinds.POD_DISRUPTION_BUDGET


def told(kind: kinds.Kind, obj: Object) -> list[str]:
    return [str(cause) for cause in validation.create(kind, obj)]


@pytest.mark.parametrize("kind", [STS, DS, RC], ids=lambda kind: kind.plural)
def test_what_is_usual_is_valid(kind: kinds.Kind) -> None:
    assert told(kind, made.workload(kind)) == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "expected"),
    [
        (STS, "spec.replicas", -1,
         "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (STS, "spec.podManagementPolicy", "Any",
         "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"),
        (STS, "spec.ordinals", {"start": -1},
         "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"),
        (STS, "spec.updateStrategy.rollingUpdate.maxUnavailable", 0,
         "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"),
        (STS, "spec.template.metadata.labels", {"app": "other"},
         ('spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match'
         " template `labels`")),
        (DS, "spec.template.spec.restartPolicy", "Never",
         ('spec.template.spec.restartPolicy: Unsupported value: "Never": supported values:'
         ' "Always"')),
        (DS, "spec.updateStrategy.rollingUpdate.maxUnavailable", 0,
         ("spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when"
         " maxSurge is 0")),
        (DS, "spec.updateStrategy.rollingUpdate.maxSurge", 1,
         ("spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when"
         " maxUnavailable is non-zero")),
        (RC, "spec.selector", {"app": "other"},
         ('spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match'
         " template `labels`")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(kind: kinds.Kind, path: str, value: Any, expected: str) -> None:
    assert told(kind, made.edited(made.workload(kind), path, value)) == [expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 1}, []),
        ({"maxUnavailable": "30%"}, []),
        ({"minAvailable": "130%"},
         ['spec.minAvailable: Invalid value: "130%": must not be greater than 100%']),
        ({"minAvailable": -1},
         ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
        ({"unhealthyPodEvictionPolicy": "Never"},
         [('spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values:'
          ' "AlwaysAllow", "IfHealthyBudget"')]),
        ({"minAvailable": 1, "maxUnavailable": 1},
         [('spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and'
          " maxUnavailable cannot be both set")]),
    ],
)  # fmt: skip
def test_budgets(spec: Object, expected: list[str]) -> None:
    meta = {"name": "web", "namespace": "default"}
    assert told(PDB, made.prepared(PDB, {"metadata": meta, "spec": spec})) == expected


def test_a_stateful_set_may_be_resized_and_nothing_else() -> None:
    old = made.workload(STS)
    grown = made.edited(old, "spec.replicas", 5)
    assert validation.update(STS, grown, old) == []
    moved = made.edited(old, "spec.serviceName", "other")
    (cause,) = validation.update(STS, moved, old)
    assert str(cause) == (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals',"
        " 'template', 'updateStrategy', 'revisionHistoryLimit',"
        " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )


def test_a_revision_is_never_rewritten() -> None:
    kind = kinds.CONTROLLER_REVISION
    body = {"metadata": {"name": "r", "namespace": "default"}, "data": {"a": 1}, "revision": 1}
    old = made.prepared(kind, body)
    assert validation.update(kind, made.edited(old, "revision", 2), old) == []
    changed = validation.update(kind, made.edited(old, "data", {"a": 2}), old)
    assert [cause.field for cause in changed] == ["data"]


def test_defaults() -> None:
    spec = made.workload(STS)["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    assert made.workload(DS)["spec"]["updateStrategy"]["rollingUpdate"] == {
        "maxUnavailable": 1,
        "maxSurge": 0,
    }
    bare = made.workload(RC, selector=None)
    assert bare["spec"]["selector"] == bare["metadata"]["labels"] == {"app": "web"}


def test_rows() -> None:
    counts = {"desiredNumberScheduled": 1, "numberReady": 1}
    cells = tables.row(DS, {**made.workload(DS), "status": counts}, NOW)
    assert cells[:8] == ["web", 1, 0, 1, 0, 0, "<none>", "60s"]
    ready = {**made.workload(STS, replicas=3), "status": {"readyReplicas": 2}}
    assert tables.row(STS, ready, NOW)[:3] == ["web", "2/3", "60s"]
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": "50%"}}
    assert tables.row(PDB, budget, NOW)[:4] == ["web", "N/A", "50%", 0]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": True}
    revision = {"metadata": {"name": "r", "ownerReferences": [owner]}, "revision": 2}
    cells = tables.row(kinds.CONTROLLER_REVISION, revision, NOW)
    assert cells[:3] == ["r", "statefulset.apps/web", 2]
