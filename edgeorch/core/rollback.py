"""Auto-rollback: a Deployment whose rollout misses its deadline goes back by itself.

Beyond Kubernetes. Every ReplicaSet that once had all its pods available, with nothing else left, is
marked for good (`PROVEN`). When a rollout has missed its progress deadline, the Deployment's
template becomes that of the proven ReplicaSet of the highest revision; its pods start from images
that are on the device already.

* One durable write changes the template and notes from what and to what, so a power cut leaves
  either all of it or nothing; what was not done is done after another deadline.
* It never loops: a template that a rollback has led to is not rolled back from.
* Whoever sets another template supersedes it: the note names the template it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from edgeorch.core import deployment_status, revisions, rollout, template_hash
from edgeorch.model import views
from edgeorch.model.kinds import Object

ANNOTATION = "edgeorch.io/auto-rollback"
PROVEN = "edgeorch.io/fully-available"
FAILED_REVISION = "edgeorch.io/rolled-back-from-revision"
FAILED_HASH = "edgeorch.io/rolled-back-from-hash"
TO_HASH = "edgeorch.io/rolled-back-to-hash"
REASON = "edgeorch.io/rolled-back-because"
CONDITION = "RolledBack"
_CAUSE = "kubernetes.io/change-cause"


class RollBack(Struct, frozen=True):
    """From the template of one ReplicaSet to that of another."""

    failed: views.ReplicaSet
    target: views.ReplicaSet
    message: str


def is_enabled(deployment: views.Deployment, default: bool) -> bool:
    """The Deployment's own word, else the device's."""
    said = deployment.metadata.annotations.get(ANNOTATION)
    return default if said is None else said.strip().lower() == "true"


def plan(
    deployment: views.Deployment,
    replica_sets: Sequence[views.ReplicaSet],
    *,
    progressing: str,
    stalled: float,
) -> RollBack | None:
    """`progressing`: the reason of that condition as it is about to be said; `stalled`: seconds
    since the rollout of the current template last made progress.
    """
    target = possible(deployment, replica_sets)
    if target is None or progressing != deployment_status.TIMED_OUT:
        return None
    if stalled < deployment.spec.progress_deadline_seconds:
        return None
    new, _ = rollout.split(deployment, replica_sets)
    return RollBack(new, target, _message(deployment, new, target)) if new is not None else None


def possible(
    deployment: views.Deployment, replica_sets: Sequence[views.ReplicaSet]
) -> views.ReplicaSet | None:
    """What a rollout that fails would go back to."""
    if deployment.metadata.deletion_timestamp or deployment.spec.paused:
        return None
    new, old = rollout.split(deployment, replica_sets)
    if new is None or _hash(new) == deployment.metadata.annotations.get(TO_HASH):
        return None
    proven = [each for each in old if is_proven(each)]
    return max(proven, key=lambda each: revisions.of(each.metadata.annotations), default=None)


def is_proven(replica_set: views.ReplicaSet) -> bool:
    return replica_set.metadata.annotations.get(PROVEN) == "true"


def to_prove(
    deployment: views.Deployment, replica_sets: Sequence[views.ReplicaSet]
) -> views.ReplicaSet | None:
    """The current ReplicaSet when it has just shown that it works."""
    new, _ = rollout.split(deployment, replica_sets)
    if new is None or is_proven(new) or not deployment.spec.replicas:
        return None
    whole = rollout.available(new) == deployment.spec.replicas
    return new if whole and rollout.is_complete(deployment) else None


def proven(obj: Object) -> Object:
    meta = obj["metadata"]
    noted = {**(meta.get("annotations") or {}), PROVEN: "true"}
    return {**obj, "metadata": {**meta, "annotations": noted}}


def applied(obj: Object, action: RollBack) -> Object:
    """The Deployment gone back; unchanged when another template was set meanwhile."""
    if not template_hash.same(obj["spec"]["template"], action.failed.spec.template):
        return obj
    meta = obj["metadata"]
    noted = {**(meta.get("annotations") or {})}
    noted |= {
        FAILED_REVISION: str(revisions.of(action.failed.metadata.annotations)),
        FAILED_HASH: _hash(action.failed),
        TO_HASH: _hash(action.target),
        REASON: action.message,
    }
    noted.pop(_CAUSE, None)
    cause = action.target.metadata.annotations.get(_CAUSE)
    if cause is not None:
        noted[_CAUSE] = cause
    template = _without_hash(action.target.spec.template)
    return {
        **obj,
        "metadata": {**meta, "annotations": noted},
        "spec": {**obj["spec"], "template": template},
    }


def condition(
    deployment: views.Deployment, new: views.ReplicaSet | None
) -> deployment_status.Said | None:
    """Told as long as the template is the one gone back to."""
    noted = deployment.metadata.annotations
    if new is None or not noted.get(TO_HASH) or _hash(new) != noted[TO_HASH]:
        return None
    reason = deployment_status.TIMED_OUT
    return deployment_status.Said(CONDITION, "True", reason, noted.get(REASON, ""))


def _message(
    deployment: views.Deployment, failed: views.ReplicaSet, target: views.ReplicaSet
) -> str:
    seconds = deployment.spec.progress_deadline_seconds
    return (
        f"Revision {_number(failed)} ({failed.metadata.name}) made no progress for {seconds} s; "
        f"went back to revision {_number(target)} ({target.metadata.name})"
    )


def _number(replica_set: views.ReplicaSet) -> int:
    return revisions.of(replica_set.metadata.annotations)


def _hash(replica_set: views.ReplicaSet) -> str:
    return replica_set.metadata.labels.get(template_hash.LABEL, "")


def _without_hash(template: Object) -> Object:
    meta = dict(template.get("metadata") or {})
    labels: Mapping[str, str] = meta.get("labels") or {}
    meta["labels"] = {key: value for key, value in labels.items() if key != template_hash.LABEL}
    return {**template, "metadata": meta}


def with_condition(
    shown: Iterable[Object], said: deployment_status.Said | None, stamp: str
) -> list[Object]:
    """The conditions with this one as it is now; unchanged in substance, it keeps its times."""
    conditions = list(shown)
    known = next((each for each in conditions if each["type"] == CONDITION), None)
    if said is None:
        return [each for each in conditions if each is not known]
    if known is not None and known.get("message") == said.message:
        return conditions
    made = {
        "type": CONDITION,
        "status": said.status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": said.reason,
        "message": said.message,
    }
    return [*(each for each in conditions if each is not known), made]
