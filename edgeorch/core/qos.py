"""Quality of service: the class of a pod, and how eagerly the kernel may kill its processes.

Rules of pkg/apis/core/v1/helper/qos and pkg/kubelet/qos/policy.go.
"""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import views

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
TIERS = (GUARANTEED, BURSTABLE, BEST_EFFORT)
_COMPUTE = ("cpu", "memory")
_GUARANTEED_ADJ = -997
_BEST_EFFORT_ADJ = 1000


def qos_class(spec: views.PodSpec) -> str:
    """By what the pod says of itself, else by what its containers say together."""
    each = [spec.resources] if spec.resources is not None else []
    each = each or [c.resources for c in (*spec.containers, *spec.init_containers)]
    limits: dict[str, int] = {}
    requests: dict[str, int] = {}
    guaranteed = True
    for resources in each:
        _add(requests, resources.requests)
        guaranteed = _add(limits, resources.limits) == len(_COMPUTE) and guaranteed
    if not limits and not requests:
        return BEST_EFFORT
    # What is not asked for is asked for as much as it is limited.
    return GUARANTEED if guaranteed and {**limits, **requests} == limits else BURSTABLE


def _add(total: dict[str, int], amounts: dict[str, str]) -> int:
    """How many were added."""
    found = {name: _amount(amounts, name) for name in _COMPUTE if _amount(amounts, name) > 0}
    for name, amount in found.items():
        total[name] = total.get(name, 0) + amount
    return len(found)


def oom_score_adj(container: views.Container, qos: str, capacity: int, share: int = 0) -> int:
    """`capacity` is the memory of the node in bytes; `share` what the container has, in bytes, of
    what its pod asks for beyond its containers."""
    if qos == GUARANTEED:
        return _GUARANTEED_ADJ
    if qos == BEST_EFFORT or capacity <= 0:
        return _BEST_EFFORT_ADJ
    request = _amount(container.resources.requests, "memory") + share * quantity.NANO
    score = 1000 - 1000 * request // (capacity * quantity.NANO)
    # Between the two other classes, whatever is asked for.
    return max(1000 + _GUARANTEED_ADJ, min(score, _BEST_EFFORT_ADJ - 1))


def memory_share(spec: views.PodSpec) -> int:
    """Bytes for each container of what the pod asks for beyond them (KEP-2837)."""
    own = spec.resources.requests if spec.resources is not None else {}
    if "memory" not in own:
        return 0
    beside = [c for c in spec.init_containers if c.restart_policy == "Always"]
    every = [*spec.containers, *beside]
    rest = _amount(own, "memory") - sum(_amount(c.resources.requests, "memory") for c in every)
    return max(0, rest // (len(every) or 1) // quantity.NANO)


def _amount(quantities: dict[str, str], name: str) -> int:
    """In nano units."""
    return quantity.parse(quantities.get(name, "0")).nano
