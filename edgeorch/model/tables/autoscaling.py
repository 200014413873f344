"""How HorizontalPodAutoscalers are listed (pkg/printers/internalversion, formatHPAMetrics)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, NAME, Column

AUTOSCALER = (
    NAME,
    Column("Reference", "What is scaled."),
    Column("Targets", "Current and wanted values of the metrics."),
    Column("MinPods", "The fewest pods."),
    Column("MaxPods", "The most pods.", type="integer"),
    Column("Replicas", "Pods there are.", type="integer"),
    AGE,
)
_SHOWN = 2
"""Metrics; of more it is told how many."""


def autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ref = spec.get("scaleTargetRef") or {}
    fewest = spec.get("minReplicas")
    return [
        (obj.get("metadata") or {}).get("name", ""),
        f"{ref.get('kind')}/{ref.get('name')}",
        _targets(spec.get("metrics") or [], status.get("currentMetrics") or []),
        "<unset>" if fewest is None else str(fewest),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        age(obj, now),
    ]


def _targets(metrics: list[Object], measured: list[Object]) -> str:
    if not metrics:
        return "<none>"
    found = []
    for index, metric in enumerate(metrics):
        found.append(_target(metric, measured[index] if index < len(measured) else {}))
    text = ", ".join(found[:_SHOWN])
    return f"{text} + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else text


def _target(metric: Object, measured: Object) -> str:
    kind = metric.get("type") or ""
    member = kind[:1].lower() + kind[1:]
    source = metric.get(member) or {}
    current = (measured.get(member) or {}).get("current") or {}
    wanted = source.get("target") or {}
    prefix = f"{source.get('name')}: " if member in ("resource", "containerResource") else ""
    if wanted.get("averageValue") is not None:
        suffix = " (avg)" if member in ("object", "external") else ""
        shown = current.get("averageValue", "<unknown>")
        return f"{prefix}{shown}/{wanted['averageValue']}{suffix}"
    if prefix:
        percent = current.get("averageUtilization")
        shown = "<unknown>" if percent is None else f"{percent}%"
        aim = wanted.get("averageUtilization")
        return f"{prefix}{shown}/" + ("<auto>" if aim is None else f"{aim}%")
    if wanted.get("value") is not None:
        return f"{current.get('value', '<unknown>')}/{wanted['value']}"
    return "<unknown>/<auto>" if source else "<unknown type>"
