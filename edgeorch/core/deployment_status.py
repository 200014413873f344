"""What a Deployment's status says: counts, and the conditions that `kubectl rollout` reads.

Reasons, messages and the moments at which a condition keeps or changes its times are those of
pkg/controller/deployment (sync.go, progress.go). Only the deadline differs: it is measured in
seconds since progress was last seen (`stalled`, monotonic), never by comparing wall times.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from edgeorch.core import rollout
from edgeorch.model import views
from edgeorch.model.kinds import Object

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
NEW_AVAILABLE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
CREATE_FAILED = "ReplicaSetCreateError"
_PAUSED, _RESUMED = "DeploymentPaused", "DeploymentResumed"
_NO_DEADLINE = 2**31 - 1


class Said(Struct, frozen=True):
    """A condition in the making: what is said now, times aside."""

    type: str
    status: str
    reason: str
    message: str


def compute(
    deployment: views.Deployment,
    replica_sets: Sequence[views.ReplicaSet],
    *,
    stalled: float,
    stamp: str,
    created: str = "",
    failed: Said | None = None,
) -> Object:
    """The status it should have. `created` names a ReplicaSet made just now."""
    new, _ = rollout.split(deployment, replica_sets)
    found = _counts(deployment, replica_sets, new)
    conditions = {each.type: _shown(each) for each in deployment.status.conditions}
    board = _Board(conditions, stamp)
    board.say(_availability(deployment, found))
    if not has_deadline(deployment):
        conditions.pop(PROGRESSING, None)
    elif failed is not None:
        board.say(failed)
    elif not (
        _say_pause(deployment, board)
        or deployment.spec.paused
        # `stalled` counts from before what has just begun.
        or _say_start(new, board, created)
    ):
        _say_progress(deployment, found, new, board, stalled)
    trouble = _failure(replica_sets, new)
    if trouble is not None:
        board.say(trouble)
    else:
        conditions.pop(FAILURE, None)
    found["conditions"] = list(conditions.values())
    return found


def deleting(deployment: views.Deployment, replica_sets: Sequence[views.ReplicaSet]) -> Object:
    """While it is being deleted only counts and availability are kept up."""
    new, _ = rollout.split(deployment, replica_sets)
    found = _counts(deployment, replica_sets, new)
    found["conditions"] = [_shown(each) for each in deployment.status.conditions]
    return found


def has_deadline(deployment: views.Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds != _NO_DEADLINE


def time_left(deployment: views.Deployment, stalled: float) -> float | None:
    """Seconds until a stuck rollout is past its deadline; None when none is under way."""
    current = _condition(deployment, PROGRESSING)
    if current is None or not has_deadline(deployment) or deployment.spec.paused:
        return None
    if current.reason == TIMED_OUT or rollout.is_complete(deployment):
        return None
    return max(0.0, deployment.spec.progress_deadline_seconds - stalled)


def progress_mark(deployment: views.Deployment) -> tuple[object, ...]:
    """Changes whenever the rollout has made progress."""
    status, current = deployment.status, _condition(deployment, PROGRESSING)
    said = (current.reason, current.last_update_time) if current is not None else ()
    counts = (status.replicas, status.updated_replicas, status.ready_replicas)
    return (*said, *counts, status.available_replicas)


class _Board:
    """The conditions as they stand, changed by what is said of them."""

    def __init__(self, conditions: dict[str, Object], stamp: str) -> None:
        self._conditions = conditions
        self._stamp = stamp

    def say(self, said: Said, *, again: bool = False) -> bool:
        """Whether it is news. What is not changes nothing, unless it is to be said `again`."""
        known = self._conditions.get(said.type)
        same_status = known is not None and known["status"] == said.status
        if known is not None and same_status and known.get("reason") == said.reason and not again:
            return False
        transition = known["lastTransitionTime"] if known is not None and same_status else None
        self._conditions.pop(said.type, None)
        self._conditions[said.type] = {
            "type": said.type,
            "status": said.status,
            "lastUpdateTime": self._stamp,
            "lastTransitionTime": transition or self._stamp,
            "reason": said.reason,
            "message": said.message,
        }
        return True

    def reason(self, type_: str) -> str:
        return str(self._conditions.get(type_, {}).get("reason", ""))


def _counts(
    deployment: views.Deployment,
    replica_sets: Sequence[views.ReplicaSet],
    new: views.ReplicaSet | None,
) -> Object:
    wanted = sum(each.spec.replicas for each in replica_sets)
    available = sum(each.status.available_replicas for each in replica_sets)
    found: Object = {
        "observedGeneration": deployment.metadata.generation,
        "replicas": sum(each.status.replicas for each in replica_sets),
        "updatedReplicas": new.status.replicas if new is not None else 0,
        "readyReplicas": sum(each.status.ready_replicas for each in replica_sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    found = {name: count for name, count in found.items() if count}
    found["terminatingReplicas"] = sum(each.status.terminating_replicas for each in replica_sets)
    if deployment.status.collision_count is not None:
        found["collisionCount"] = deployment.status.collision_count
    return found


def _availability(deployment: views.Deployment, found: Object) -> Said:
    least = deployment.spec.replicas - rollout.max_unavailable(deployment)
    if found.get("availableReplicas", 0) >= least:
        message = "Deployment has minimum availability."
        return Said(AVAILABLE, "True", "MinimumReplicasAvailable", message)
    message = "Deployment does not have minimum availability."
    return Said(AVAILABLE, "False", "MinimumReplicasUnavailable", message)


def _say_pause(deployment: views.Deployment, board: _Board) -> bool:
    """Whether the rollout has stopped or gone on just now."""
    reason = board.reason(PROGRESSING)
    if reason == TIMED_OUT:
        return False
    if deployment.spec.paused and reason != _PAUSED:
        return board.say(Said(PROGRESSING, "Unknown", _PAUSED, "Deployment is paused"))
    if not deployment.spec.paused and reason == _PAUSED:
        return board.say(Said(PROGRESSING, "Unknown", _RESUMED, "Deployment is resumed"))
    return False


def _say_start(new: views.ReplicaSet | None, board: _Board, created: str) -> bool:
    """Whether a rollout has begun just now."""
    if created:
        message = f'Created new replica set "{created}"'
        return board.say(Said(PROGRESSING, "True", "NewReplicaSetCreated", message))
    if new is not None and not board.reason(PROGRESSING):
        message = f'Found new replica set "{new.metadata.name}"'
        return board.say(Said(PROGRESSING, "True", "FoundNewReplicaSet", message))
    return False


def _say_progress(
    deployment: views.Deployment,
    found: Object,
    new: views.ReplicaSet | None,
    board: _Board,
    stalled: float,
) -> None:
    replicas, updated = found.get("replicas", 0), found.get("updatedReplicas", 0)
    if board.reason(PROGRESSING) == NEW_AVAILABLE and replicas == updated:
        return
    who = f'ReplicaSet "{new.metadata.name}"' if new is not None else None
    who = who or f'Deployment "{deployment.metadata.name}"'
    if _is_complete(deployment, found):
        message = f"{who} has successfully progressed."
        board.say(Said(PROGRESSING, "True", NEW_AVAILABLE, message))
    elif _has_progressed(deployment.status, found):
        message = f"{who} is progressing."
        board.say(Said(PROGRESSING, "True", "ReplicaSetUpdated", message), again=True)
    elif _is_overdue(deployment, board.reason(PROGRESSING), stalled):
        message = f"{who} has timed out progressing."
        board.say(Said(PROGRESSING, "False", TIMED_OUT, message))


def _is_complete(deployment: views.Deployment, found: Object) -> bool:
    counts = {found.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")}
    return counts == {deployment.spec.replicas}


def _has_progressed(old: views.DeploymentStatus, found: Object) -> bool:
    """More updated, ready or available pods than the status says, or fewer old ones."""
    outdated = found.get("replicas", 0) - found.get("updatedReplicas", 0)
    return bool(
        found.get("updatedReplicas", 0) > old.updated_replicas
        or outdated < old.replicas - old.updated_replicas
        or found.get("readyReplicas", 0) > old.ready_replicas
        or found.get("availableReplicas", 0) > old.available_replicas
    )


def _is_overdue(deployment: views.Deployment, reason: str, stalled: float) -> bool:
    if reason in ("", NEW_AVAILABLE):
        return False
    return reason == TIMED_OUT or stalled >= deployment.spec.progress_deadline_seconds


def _failure(replica_sets: Sequence[views.ReplicaSet], new: views.ReplicaSet | None) -> Said | None:
    """The trouble of the new ReplicaSet, else of any."""
    for each in ([new] if new is not None else []) + list(replica_sets):
        for known in each.status.conditions:
            if known.type == FAILURE:
                return Said(FAILURE, known.status, known.reason, known.message)
    return None


def _condition(deployment: views.Deployment, type_: str) -> views.Condition | None:
    return next((each for each in deployment.status.conditions if each.type == type_), None)


def _shown(condition: views.Condition) -> Object:
    return {
        "type": condition.type,
        "status": condition.status,
        "lastUpdateTime": condition.last_update_time,
        "lastTransitionTime": condition.last_transition_time,
        "reason": condition.reason,
        "message": condition.message,
    }
