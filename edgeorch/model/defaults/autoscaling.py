"""Defaults of HorizontalPodAutoscalers (pkg/apis/autoscaling/v2/defaults.go)."""

from __future__ import annotations

from typing import Any

from edgeorch.model.kinds import Object

_PERIOD = 15


def autoscaler(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = _rules(
            behavior.get("scaleUp"), [_policy("Pods", 4), _policy("Percent", 100)], window=0
        )
        behavior["scaleDown"] = _rules(behavior.get("scaleDown"), [_policy("Percent", 100)])


def _policy(kind: str, value: int) -> Object:
    return {"type": kind, "value": value, "periodSeconds": _PERIOD}


def _rules(given: Object | None, policies: list[Object], window: int | None = None) -> Object:
    usual: dict[str, Any] = {"selectPolicy": "Max", "policies": policies}
    if window is not None:
        usual["stabilizationWindowSeconds"] = window
    chosen = {name: value for name, value in (given or {}).items() if value is not None}
    return {**usual, **chosen}
