"""Whether an object does what it is there for: what a bundle waits for.

The rules are those that `helm --wait` and kstatus go by (helm.sh pkg/kube/ready.go,
sigs.k8s.io/cli-utils pkg/kstatus): a workload is ready when its controller has seen the latest
spec, everything runs the latest template and is available. What has nothing to become is ready
once it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeorch.model import kinds
from edgeorch.model.kinds import Object

Rule = Callable[[Object, Object], str]
"""From spec and status: what is missing, "" for nothing."""


def missing(resource: str, obj: Object) -> str:
    """What an object still lacks, "" when it is ready. `resource` is the kind's."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "is being deleted"
    rule = _RULES.get(resource)
    if rule is None:
        return ""
    generation = meta.get("generation") or 0
    observed = status.get("observedGeneration") or 0
    # What a pod lacks before the agent has seen it at all, it says itself.
    if observed < generation and (resource in _OBSERVED or observed):
        return "its latest change has not been seen yet"
    return rule(obj.get("spec") or {}, status)


def is_complete(job: Object) -> bool:
    return bool(_condition(job.get("status") or {}, "Complete", "True"))


def trouble(pod: Object) -> str:
    """What keeps a pod from being ready that will not pass by itself; "" for nothing known."""
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        return str(status.get("message") or status.get("reason") or "failed")
    for group in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(group) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, *_PASSING):
                why = waiting.get("message") or ""
                return _told(f"container {container['name']} waits, {waiting['reason']}", why)
            last = (container.get("lastState") or {}).get("terminated") or {}
            if last.get("exitCode") and not container.get("ready"):
                told = last.get("reason") or "Error"
                return f"container {container['name']} ended with {last['exitCode']}, {told}"
    return _condition(status, "PodScheduled", "False")


def _deployment(spec: Object, status: Object) -> str:
    wanted = _replicas(spec)
    updated, there = _count(status, "updatedReplicas"), _count(status, "replicas")
    available = _count(status, "availableReplicas")
    if updated < wanted:
        why = _condition(status, "ReplicaFailure", "True") or _stalled(status)
        return _told(f"{updated} of {wanted} pods are updated", why)
    if there > updated:
        return _told(
            f"{there - updated} pods of the former template are still there", _stalled(status)
        )
    if available < wanted:
        return _told(f"{available} of {wanted} pods are available", _stalled(status))
    return ""


def _stalled(status: Object) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    return ""


def _stateful_set(spec: Object, status: Object) -> str:
    wanted = _replicas(spec)
    ready, updated = _count(status, "readyReplicas"), _count(status, "updatedReplicas")
    strategy = spec.get("updateStrategy") or {}
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    if strategy.get("type") == "OnDelete":
        return ""
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    due = max(0, wanted - partition)
    if updated < due:
        return f"{updated} of {due} pods are updated"
    return ""


def _daemon_set(spec: Object, status: Object) -> str:
    wanted = _count(status, "desiredNumberScheduled")
    updated = _count(status, "updatedNumberScheduled")
    available = _count(status, "numberAvailable")
    on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    if updated < wanted and not on_delete:
        return f"{updated} of {wanted} pods are updated"
    if available < wanted:
        return f"{available} of {wanted} pods are available"
    return ""


def _replica_set(spec: Object, status: Object) -> str:
    wanted, available = _replicas(spec), _count(status, "availableReplicas")
    return f"{available} of {wanted} pods are available" if available < wanted else ""


def _job(spec: Object, status: Object) -> str:
    if why := _condition(status, "Failed", "True"):
        return f"failed: {why}"
    if spec.get("suspend"):
        return ""
    if _condition(status, "Complete", "True"):
        return ""
    wanted = spec.get("completions") or 1
    return f"{_count(status, 'succeeded')} of {wanted} completions"


def _pod(spec: Object, status: Object) -> str:
    del spec
    phase = status.get("phase") or "Pending"
    if phase == "Succeeded" or _condition(status, "Ready", "True"):
        return ""
    if phase == "Failed":
        return _told("failed", str(status.get("message") or status.get("reason") or ""))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and not container.get("ready"):
            return f"container {container['name']} waits: {waiting['reason']}"
    return _told(phase.lower(), _condition(status, "PodScheduled", "False")) + ", not ready"


def _claim(spec: Object, status: Object) -> str:
    """One that nobody uses yet waits for its first pod, whose own readiness tells enough."""
    del spec
    phase = status.get("phase") or "Pending"
    return "has lost its volume" if phase == "Lost" else ""


def _service(spec: Object, status: Object) -> str:
    if spec.get("type") != "LoadBalancer":
        return ""
    has_address = (status.get("loadBalancer") or {}).get("ingress")
    return "" if has_address else "has no address yet"


def _namespace(spec: Object, status: Object) -> str:
    del spec
    return "is being deleted" if status.get("phase") == "Terminating" else ""


def _replicas(spec: Object) -> int:
    wanted = spec.get("replicas")
    return 1 if wanted is None else int(wanted)


def _count(status: Object, name: str) -> int:
    return int(status.get(name) or 0)


def _condition(status: Object, kind: str, value: str) -> str:
    """What a condition of that value says; "" when it is not there."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == value:
            told: Any = condition.get("message") or condition.get("reason") or kind
            return str(told)
    return ""


def _told(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


_RULES: dict[str, Rule] = {
    kinds.DEPLOYMENT.resource: _deployment,
    kinds.STATEFUL_SET.resource: _stateful_set,
    kinds.DAEMON_SET.resource: _daemon_set,
    kinds.REPLICA_SET.resource: _replica_set,
    kinds.REPLICATION_CONTROLLER.resource: _replica_set,
    kinds.JOB.resource: _job,
    kinds.POD.resource: _pod,
    kinds.PERSISTENT_VOLUME_CLAIM.resource: _claim,
    kinds.SERVICE.resource: _service,
    kinds.NAMESPACE.resource: _namespace,
}
_OBSERVED = frozenset(
    kind.resource
    for kind in (
        kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET,
        kinds.REPLICATION_CONTROLLER,
    )
)  # fmt: skip
_PASSING = ("ContainerCreating", "PodInitializing")
OF_PODS = (
    kinds.DEPLOYMENT.resource, kinds.STATEFUL_SET.resource, kinds.DAEMON_SET.resource,
    kinds.REPLICA_SET.resource, kinds.REPLICATION_CONTROLLER.resource, kinds.JOB.resource,
)  # fmt: skip
"""Resources whose objects are as ready as their pods."""
WATCHED = tuple(_RULES)
"""Resources whose changes may make something ready, or unready."""
