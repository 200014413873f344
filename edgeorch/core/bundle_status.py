"""What the status of a Bundle says: for people, and for the fleet that asks.

All of it but `DURABLE` may be seen anew after every start.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeorch.core import bundle_plan
from edgeorch.model.kinds import Object

MAX_MISSING = 20
"""Objects that are named one by one."""
DURABLE = ("version", "lastGoodVersion", "starts", "refusedVersions")


def rendered(
    current: Object,
    decision: bundle_plan.Decision,
    missing: Sequence[bundle_plan.Missing],
    *,
    total: int,
    images: Sequence[str],
    now: str,
) -> Object:
    """The status of `current`, a Bundle of which `total` objects are to be on the device."""
    before = current.get("status") or {}
    status = {name: before[name] for name in DURABLE if before.get(name)}
    status |= {
        "phase": decision.phase,
        "observedGeneration": current["metadata"].get("generation") or 0,
        "objects": {"total": total, "ready": total - len(missing)},
        "conditions": _conditions(before, decision, now),
        "images": list(images),
    }
    if decision.message:
        status["message"] = decision.message
    if missing:
        status["missing"] = [_shown(each) for each in missing[:MAX_MISSING]]
    return status


def _shown(missing: bundle_plan.Missing) -> Object:
    found = {"kind": missing.kind, "name": missing.name, "message": missing.message}
    return found | ({"namespace": missing.namespace} if missing.namespace else {})


def _conditions(before: Object, decision: bundle_plan.Decision, now: str) -> list[Object]:
    old = {each["type"]: each for each in before.get("conditions") or ()}
    ready = decision.phase == bundle_plan.READY
    found = [_condition(old, "Ready", ready, decision.phase, decision.message, now)]
    if decision.held or "Held" in old:
        reason = "UpdatesHeld" if decision.held else "NotHeld"
        found.append(_condition(old, "Held", bool(decision.held), reason, decision.held, now))
    return found


def _condition(
    old: dict[str, Object], kind: str, value: bool, reason: str, message: str, now: str
) -> Object:
    status = "True" if value else "False"
    before = old.get(kind) or {}
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since or now,
    }
