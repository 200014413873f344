"""Defaults of Deployments and ReplicaSets (pkg/apis/apps/v1/defaults.go)."""

from __future__ import annotations

from edgeorch.model.defaults import pods
from edgeorch.model.kinds import Object


def deployment(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    strategy = spec["strategy"] = spec.get("strategy") or {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        for field in ("maxUnavailable", "maxSurge"):
            if rolling.get(field) is None:
                rolling[field] = "25%"
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    if spec.get("progressDeadlineSeconds") is None:
        spec["progressDeadlineSeconds"] = 600
    spec["template"] = spec.get("template") or {}
    pods.template(spec["template"])


def replica_set(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    spec["template"] = spec.get("template") or {}
    pods.template(spec["template"])
