"""Quality of service: the class of a pod, and how eagerly the kernel may kill its processes.

Rules of pkg/apis/core/v1/helper/qos and pkg/kubelet/qos/policy.go.
"""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import views

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_COMPUTE = ("cpu", "memory")
_GUARANTEED_ADJ = -997
_BEST_EFFORT_ADJ = 1000


def qos_class(spec: views.PodSpec) -> str:
    containers = [*spec.containers, *spec.init_containers]
    asked = False
    guaranteed = True
    for container in containers:
        limits, requests = container.resources.limits, container.resources.requests
        for name in _COMPUTE:
            limit, request = _amount(limits, name), _amount(requests, name)
            asked = asked or limit > 0 or request > 0
            if limit <= 0 or (name in requests and request != limit):
                guaranteed = False
    if not asked:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def oom_score_adj(container: views.Container, qos: str, capacity: int) -> int:
    """`capacity` is the memory of the node in bytes."""
    if qos == GUARANTEED:
        return _GUARANTEED_ADJ
    if qos == BEST_EFFORT or capacity <= 0:
        return _BEST_EFFORT_ADJ
    request = _amount(container.resources.requests, "memory")
    score = 1000 - 1000 * request // (capacity * quantity.NANO)
    # Between the two other classes, whatever is asked for.
    return max(1000 + _GUARANTEED_ADJ, min(score, _BEST_EFFORT_ADJ - 1))


def _amount(quantities: dict[str, str], name: str) -> int:
    """In nano units."""
    return quantity.parse(quantities.get(name, "0")).nano
