"""How many pods a ReplicaSet wants, which go first, and what its status says.

Pure decisions after pkg/controller/replicaset and controller_utils.go (ActivePodsWithRanks). One
plan is meant for one observation: pods that are terminating or over do not count, so a plan carried
out and observed again is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from edgeorch.core import pod_facts
from edgeorch.model import views
from edgeorch.model.kinds import Object

BURST = 500
"""At most so many creations or deletions for one observation."""
FAILURE = "ReplicaFailure"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


class Plan(Struct, frozen=True):
    create: int = 0
    delete: list[pod_facts.PodFacts] = field(default_factory=list)


def plan(replicas: int, pods: Sequence[pod_facts.PodFacts]) -> Plan:
    """`pods`: everything the ReplicaSet owns."""
    active = [pod for pod in pods if pod.active]
    missing = replicas - len(active)
    if missing >= 0:
        return Plan(create=min(missing, BURST))
    count = min(-missing, BURST)
    return Plan(delete=rank(active)[:count])


def rank(pods: Iterable[pod_facts.PodFacts]) -> list[pod_facts.PodFacts]:
    """The order in which pods are given up, first to go first.

    Unassigned, pending, unready, cheap to delete, ready for the shortest time, often restarted, and
    young ones go first.
    """
    # Stable sorts, least important first, because "youngest first" compares texts downwards.
    found = sorted(pods, key=lambda pod: pod.metadata.name)
    found.sort(key=lambda pod: pod.metadata.creation_timestamp, reverse=True)
    found.sort(
        key=lambda pod: (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 1),
            pod.ready,
            pod.deletion_cost,
            -pod.ready_since if pod.ready else 0.0,
            -pod.restarts,
        )
    )
    return found


def new_pod(owner: Object, template: Object, ref: Object) -> Object:
    """A pod from a template, named by its owner."""
    meta = template.get("metadata") or {}
    made: Object = {"generateName": f"{owner['metadata']['name']}-"}
    made["namespace"] = owner["metadata"]["namespace"]
    for name in ("labels", "annotations", "finalizers"):
        if meta.get(name):
            made[name] = meta[name]
    made["ownerReferences"] = [ref]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]}


class Failure(Struct, frozen=True):
    """Why the latest attempt to create or delete pods did not succeed."""

    reason: str
    message: str


def status(
    replica_set: views.ReplicaSet,
    pods: Sequence[pod_facts.PodFacts],
    failure: Failure | None,
    *,
    now: float,
    stamp: str,
) -> Object:
    """The status that the ReplicaSet should have. `now`: since boot; `stamp`: for display."""
    spec, old = replica_set.spec, replica_set.status
    labels = (spec.template.get("metadata") or {}).get("labels") or {}
    active = [pod for pod in pods if pod.active]
    found: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= p.metadata.labels.items() for p in active),
        "readyReplicas": sum(pod.ready for pod in active),
        "availableReplicas": sum(pod.available(now, spec.min_ready_seconds) for pod in active),
        "terminatingReplicas": sum(pod.terminating and not pod.terminal for pod in pods),
        "observedGeneration": replica_set.metadata.generation,
    }
    # Counts of zero are left out as Go's omitempty does; `replicas` and the new field are not.
    for name in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        if not found[name]:
            del found[name]
    conditions = [each for each in old.conditions if each.type != FAILURE]
    shown = [_shown(each) for each in conditions]
    if failure is not None:
        shown.append(_failure(old, failure, stamp))
    if shown:
        found["conditions"] = shown
    return found


def next_available(
    pods: Iterable[pod_facts.PodFacts], now: float, min_ready_seconds: int
) -> float | None:
    """Seconds until the next ready pod becomes available by the passing of time alone."""
    waits = [
        pod.ready_since + min_ready_seconds - now
        for pod in pods
        if pod.active and pod.ready and not pod.available(now, min_ready_seconds)
    ]
    return max(0.0, min(waits)) if waits else None


def _failure(old: views.ReplicaSetStatus, failure: Failure, stamp: str) -> Object:
    """A failure that is known already keeps the words and the time it began with."""
    known = next((each for each in old.conditions if each.type == FAILURE), None)
    if known is not None:
        return _shown(known)
    return {
        "type": FAILURE,
        "status": "True",
        "lastTransitionTime": stamp,
        "reason": failure.reason,
        "message": failure.message,
    }


def _shown(condition: views.Condition) -> Object:
    found = {
        "type": condition.type,
        "status": condition.status,
        "lastTransitionTime": condition.last_transition_time,
        "reason": condition.reason,
        "message": condition.message,
    }
    return {name: value for name, value in found.items() if value}
