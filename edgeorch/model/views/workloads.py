"""Deployments and ReplicaSets; other workloads are in model.workloads and model.batch."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from edgeorch.model.views.base import Condition, IntOrString, LabelSelector, Meta, View


class PodTemplate(View, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    spec: dict[str, Any] = {}


class RollingUpdate(View, frozen=True, kw_only=True):
    max_surge: IntOrString = "25%"
    max_unavailable: IntOrString = "25%"


class DeploymentStrategy(View, frozen=True, kw_only=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    replicas: int = 1
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    paused: bool = False


class DeploymentStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int = 0
    collision_count: int | None = None
    conditions: list[Condition] = []


class Deployment(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    replicas: int = 1
    min_ready_seconds: int = 0


class ReplicaSetStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int = 0
    conditions: list[Condition] = []


class ReplicaSet(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()
