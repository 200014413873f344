"""Pods that only take room: too many that are over, and those of nodes that are no longer.

As kube-controller-manager's podgc; its threshold of 12,500 is made for other machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeorch.core import pod_facts
from edgeorch.model.kinds import Object

QUARANTINE = 40.0
"""Seconds for which a pod's node must have been missing."""


def surplus(pods: Iterable[pod_facts.PodFacts], threshold: int) -> list[pod_facts.PodFacts]:
    """Of the pods that are over, the oldest above `threshold`; none with a threshold of 0."""
    over = [pod for pod in pods if pod.terminal and not pod.terminating]
    if threshold <= 0 or len(over) <= threshold:
        return []
    over.sort(key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
    return over[: len(over) - threshold]


def orphaned(pod: pod_facts.PodFacts, nodes: Iterable[str]) -> bool:
    """Bound to a node that does not exist."""
    return bool(pod.spec.node_name) and pod.spec.node_name not in nodes


def failed(obj: Object, stamp: str) -> Object:
    """An orphan's last status."""
    status: dict[str, Any] = dict(obj.get("status") or {})
    if status.get("phase") not in ("Succeeded", "Failed"):
        status["phase"] = "Failed"
    others = [c for c in status.get("conditions") or [] if c.get("type") != "DisruptionTarget"]
    said = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": stamp,
    }
    return {**obj, "status": {**status, "conditions": [*others, said]}}
