"""How long a pod may stay on a node with taints that evict.

As pkg/controller/tainteviction: a taint that is not tolerated evicts at once, one that is tolerated
for some seconds after the shortest of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.core import pod_facts, scheduling
from edgeorch.model import views

NO_EXECUTE = "NoExecute"
EVENT = "TaintManagerEviction"
REASON = "DeletionByTaintManager"
MESSAGE = "Taint manager: deleting due to NoExecute taint"


def stay(pod: pod_facts.PodFacts, taints: Iterable[views.Taint]) -> float | None:
    """Seconds; None for ever."""
    found: list[float] = []
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        tolerating = next((t for t in pod.spec.tolerations if scheduling.matches(t, taint)), None)
        if tolerating is None:
            return 0.0
        if tolerating.toleration_seconds is not None:
            found.append(max(0.0, float(tolerating.toleration_seconds)))
    return min(found, default=None)
