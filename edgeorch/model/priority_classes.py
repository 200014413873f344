"""A PriorityClass, and the two that every cluster has."""

from __future__ import annotations

from edgeorch.model.kinds import Object
from edgeorch.model.views.base import Meta, View

HIGHEST_OF_USERS = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM = {
    "system-cluster-critical": 2 * HIGHEST_OF_USERS,
    "system-node-critical": 2 * HIGHEST_OF_USERS + 1000,
}
_TOLD = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but "
    "can be moved to another node if necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their "
    "current node.",
}
PREEMPT = "PreemptLowerPriority"


class PriorityClass(View, frozen=True, kw_only=True):
    metadata: Meta
    value: int = 0
    global_default: bool = False
    preemption_policy: str = PREEMPT
    """Handed on to pods; nothing is put out for another here: a pod waits until there is room."""
    description: str = ""


def system_class(name: str) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": SYSTEM[name],
        "description": _TOLD[name],
    }
