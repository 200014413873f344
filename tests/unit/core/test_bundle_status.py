"""What the status of a Bundle says."""

from __future__ import annotations

from typing import Any

from edgeorch.core import bundle_plan, bundle_status
from edgeorch.core.bundle_plan import Decision, Do, Missing

WEB = Missing("Deployment", "shop", "web", "0 of 1 pods are available")


def _rendered(
    before: dict[str, Any], decision: Decision, *missing: Missing, now: str = "now"
) -> Any:
    current = {"metadata": {"generation": 3}, "status": before}
    return bundle_status.rendered(current, decision, missing, total=30, images=["i"], now=now)


def test_what_is_kept_and_what_is_seen_anew() -> None:
    before = {"version": "v", "lastGoodVersion": "v", "starts": 0, "message": "old", "missing": []}
    decision = Decision(Do.WAIT, "v", bundle_plan.DEGRADED, "web is not")
    namespace = Missing("Namespace", "", "shop", "is not there")
    assert _rendered(before, decision, WEB, namespace) == {
        "version": "v",
        "lastGoodVersion": "v",
        "phase": "Degraded",
        "message": "web is not",
        "observedGeneration": 3,
        "objects": {"total": 30, "ready": 28},
        "images": ["i"],
        "missing": [
            {"kind": "Deployment", "namespace": "shop", "name": "web", "message": WEB.message},
            {"kind": "Namespace", "name": "shop", "message": "is not there"},
        ],
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Degraded", "message": "web is not",
             "lastTransitionTime": "now"},
        ],
    }  # fmt: skip
    many = _rendered({}, decision, *[WEB] * 25)
    assert (len(many["missing"]), many["objects"]["ready"]) == (bundle_status.MAX_MISSING, 5)


def test_conditions_tell_since_when() -> None:
    ready = Decision(Do.WAIT, "v", bundle_plan.READY)
    first = _rendered({}, ready, now="1")
    second = _rendered(first, ready, now="2")
    assert second["conditions"] == first["conditions"]
    held = _rendered(second, Decision(Do.WAIT, "w", bundle_plan.PENDING, "", held="no"), now="3")
    told = {each["type"]: each for each in held["conditions"]}
    assert (told["Ready"]["status"], told["Ready"]["lastTransitionTime"]) == ("False", "3")
    assert (told["Held"]["status"], told["Held"]["message"]) == ("True", "no")
    free = _rendered(held, ready, now="4")
    assert [(c["type"], c["status"]) for c in free["conditions"]] == [
        ("Ready", "True"), ("Held", "False"),
    ]  # fmt: skip
