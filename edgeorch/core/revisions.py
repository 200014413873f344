"""The revision annotations of Deployments and their ReplicaSets.

kubectl's `rollout history` and `undo` read them; proportional scaling reads the sizes. A ReplicaSet
that becomes current again gets a new revision and keeps its earlier ones in its history. As
pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeorch.model import views

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    # What has happened to one object (core.rollback).
    "edgeorch.io/fully-available",
    "edgeorch.io/rolled-back-from-revision",
    "edgeorch.io/rolled-back-from-hash",
    "edgeorch.io/rolled-back-to-hash",
    "edgeorch.io/rolled-back-because",
}
_MAX_HISTORY = 2000
"""Letters of history kept."""


def number(annotations: Mapping[str, str], name: str) -> int | None:
    try:
        return int(annotations[name])
    except (KeyError, ValueError):
        return None


def of(annotations: Mapping[str, str]) -> int:
    return number(annotations, REVISION) or 0


def sizes(replicas: int, surge: int) -> dict[str, str]:
    return {DESIRED: str(replicas), MAX: str(replicas + surge)}


def wanted_annotations(
    deployment: views.Deployment,
    current: views.ReplicaSet | None,
    old: Iterable[views.ReplicaSet],
) -> dict[str, str]:
    """All annotations that the current ReplicaSet (None: one to be made) should have."""
    held = dict(current.metadata.annotations) if current is not None else {}
    copied = deployment.metadata.annotations.items()
    found = held | {name: value for name, value in copied if name not in _NOT_COPIED}
    newest = max((of(each.metadata.annotations) for each in old), default=0) + 1
    before = held.get(REVISION)
    if before is None or of(held) < newest:
        found[REVISION] = str(newest)
        if before is not None:
            found[HISTORY] = _lengthened(held.get(HISTORY, ""), before)
    return found


def _lengthened(history: str, revision: str) -> str:
    """The oldest revisions are dropped when the text grows too long."""
    known = [each for each in history.split(",") if each]
    known.append(revision)
    while len(",".join(known)) > _MAX_HISTORY:
        known.pop(0)
    return ",".join(known)
