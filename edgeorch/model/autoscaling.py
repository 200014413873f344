"""Typed view of the HorizontalPodAutoscaler (autoscaling/v2).

What is said in model.views of views holds here too. Metrics of pods, objects and from outside are
left out: nothing on a device measures them, so a client that asks for one is told.
"""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from edgeorch.model.views import Condition, Meta, View


class Reference(View, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricTarget(View, frozen=True, kw_only=True):
    type: str = ""
    value: str | None = None
    average_value: str | None = None
    average_utilization: int | None = None


class ResourceMetric(View, frozen=True, kw_only=True):
    name: str
    target: MetricTarget


class ContainerMetric(View, frozen=True, kw_only=True):
    name: str
    container: str
    target: MetricTarget


class Metric(View, frozen=True, kw_only=True):
    type: str
    resource: ResourceMetric | None = None
    container_resource: ContainerMetric | None = None


class Policy(View, frozen=True, kw_only=True):
    type: str
    value: int
    period_seconds: int


class Rules(View, frozen=True, kw_only=True):
    stabilization_window_seconds: int | None = None
    select_policy: str = "Max"
    policies: list[Policy] = []
    tolerance: str | None = None


class Behavior(View, frozen=True, kw_only=True):
    scale_up: Rules = Rules()
    scale_down: Rules = Rules()


class AutoscalerSpec(View, frozen=True, kw_only=True):
    scale_target_ref: Reference = Reference()
    min_replicas: int = 1
    max_replicas: int = 1
    metrics: list[Metric] = []
    behavior: Behavior | None = None


class AutoscalerStatus(View, frozen=True, kw_only=True):
    current_replicas: int = 0
    desired_replicas: int = 0
    last_scale_time: str | None = None
    current_metrics: list[dict[str, Any]] | None = None
    conditions: list[Condition] = []


class Autoscaler(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: AutoscalerSpec = AutoscalerSpec()
    status: AutoscalerStatus = AutoscalerStatus()
