"""Objects that are served in a second form: events.k8s.io/v1 Events, autoscaling/v1 autoscalers,
and CronJobs and PodDisruptionBudgets in the v1beta1 of their groups, which have the same fields.

Pure, both ways, without loss: what the other form has no field for travels in the annotations that
Kubernetes uses for it (pkg/apis/autoscaling/v1/conversion.go, pkg/apis/events/v1/conversion.go).
"""

from __future__ import annotations

from typing import Any

from edgeorch.lib import json
from edgeorch.model.kinds import Kind, Object

_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_STORED_EVENT_FIELDS = {theirs: ours for ours, theirs in _EVENT_FIELDS.items()}
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"


def shown(kind: Kind, stored: Object) -> Object:
    """The stored object in the form of `kind`, which is a view."""
    if kind.resource == "events.events.k8s.io":
        found = _event(stored)
    elif kind.kind == "HorizontalPodAutoscaler":
        found = _autoscaler_v1(stored)
    else:
        found = stored
    return {**found, "apiVersion": kind.api_version, "kind": kind.kind}


def stored(kind: Kind, obj: Object, into: Kind) -> Object:
    """What is to be stored, as `into`, for an object in the form of the view `kind`."""
    found = unviewed(kind, obj)
    return {**found, "apiVersion": into.api_version, "kind": into.kind}


def unviewed(kind: Kind, obj: Object) -> Object:
    """The fields as they are stored."""
    if kind.resource == "events.events.k8s.io":
        found = {_STORED_EVENT_FIELDS.get(name, name): value for name, value in obj.items()}
        found.setdefault("involvedObject", {})
        return found
    return _autoscaler_v2(obj) if kind.kind == "HorizontalPodAutoscaler" else obj


def _event(stored_event: Object) -> Object:
    found = {_EVENT_FIELDS.get(name, name): value for name, value in stored_event.items()}
    found.setdefault("eventTime", None)
    return found


def _autoscaler_v1(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    notes: dict[str, str] = {}
    percent, rest = _cpu(spec.pop("metrics", None) or [], "target")
    if percent is not None:
        spec["targetCPUUtilizationPercentage"] = percent
    _note(notes, _METRICS, rest)
    _note(notes, _BEHAVIOR, spec.pop("behavior", None))
    percent, rest = _cpu(status.pop("currentMetrics", None) or [], "current")
    if percent is not None:
        status["currentCPUUtilizationPercentage"] = percent
    _note(notes, _CURRENT, rest)
    _note(notes, _CONDITIONS, status.pop("conditions", None))
    meta = dict(obj["metadata"])
    if notes:
        meta["annotations"] = {**(meta.get("annotations") or {}), **notes}
    return {**obj, "metadata": meta, "spec": spec, "status": status}


def _autoscaler_v2(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    notes = dict(meta.get("annotations") or {})
    metrics = _noted(notes, _METRICS)
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics = [_cpu_metric("target", percent), *metrics]
    current = _noted(notes, _CURRENT)
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None:
        current = [_cpu_metric("current", percent), *current]
    behavior, conditions = _noted(notes, _BEHAVIOR), _noted(notes, _CONDITIONS)
    for holder, name, value in (
        (spec, "metrics", metrics),
        (spec, "behavior", behavior),
        (status, "currentMetrics", current),
        (status, "conditions", conditions),
    ):
        if value:
            holder[name] = value
    if "annotations" in meta:
        meta["annotations"] = notes
    return {**obj, "metadata": meta, "spec": spec, "status": status}


def _cpu(metrics: list[Object], side: str) -> tuple[int | None, list[Object]]:
    """The first utilization of CPU, and the metrics beside it."""
    for index, metric in enumerate(metrics):
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            percent = (resource.get(side) or {}).get("averageUtilization")
            if percent is not None:
                return percent, metrics[:index] + metrics[index + 1 :]
    return None, metrics


def _cpu_metric(side: str, percent: int) -> Object:
    amount: Object = {"averageUtilization": percent}
    if side == "target":
        amount["type"] = "Utilization"
    return {"type": "Resource", "resource": {"name": "cpu", side: amount}}


def _note(notes: dict[str, str], name: str, value: Any) -> None:
    if value:
        notes[name] = json.encode(value).decode()


def _noted(notes: dict[str, str], name: str) -> Any:
    """What an annotation holds; one that somebody wrote by hand and broke holds nothing."""
    text = notes.pop(name, "")
    try:
        value = json.decode(text) if text else []
    except json.DecodeError:
        return []
    return value if isinstance(value, list | dict) else []
