"""A Pod's first status (pending, with the QoS class it keeps), and writes of parts of it."""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model.kinds import Object


def first_status(obj: Object) -> Object:
    spec = obj.get("spec") or {}
    status: Object = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    return status


def with_ephemeral(new: Object, old: Object) -> Object:
    """What a write of `ephemeralcontainers` may touch: that list, and the books of who wrote."""
    meta = dict(old.get("metadata") or {})
    for field in ("managedFields", "resourceVersion"):
        if field in new["metadata"]:
            meta[field] = new["metadata"][field]
    spec = dict(old.get("spec") or {})
    spec.pop("ephemeralContainers", None)
    if listed := (new.get("spec") or {}).get("ephemeralContainers"):
        spec["ephemeralContainers"] = listed
    return {**new, "metadata": meta, "spec": spec}


def with_priority(spec: Object, before: Object) -> Object:
    """`spec` with the priority that admission gave the pod, where it says none."""
    fields = ("priority", "preemptionPolicy")
    kept = {name: before[name] for name in fields if before.get(name) is not None}
    return {**spec, **{name: kept[name] for name in kept if spec.get(name) is None}}


def qos_class(spec: Object) -> str:
    """Guaranteed when every container limits cpu and memory and requests as much; BestEffort when
    none asks for either; Burstable in between. What the pod says of itself comes before what its
    containers say. Zero amounts count as not given."""
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    every = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    for holder in [spec] if spec.get("resources") else every:
        resources = holder.get("resources") or {}
        _add(requests, resources.get("requests") or {})
        limited = _add(limits, resources.get("limits") or {})
        guaranteed = guaranteed and limited == {"cpu", "memory"}
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


def _add(total: dict[str, int], amounts: Object) -> set[str]:
    counted = set()
    for name in ("cpu", "memory"):
        amount = quantity.parse(str(amounts.get(name) or "0")).nano
        if amount:
            total[name] = total.get(name, 0) + amount
            counted.add(name)
    return counted
