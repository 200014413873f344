"""Typed views of the workloads that have a file of decisions each: StatefulSets, DaemonSets, their
ControllerRevisions, ReplicationControllers, and the budgets that limit disruption.

What is said in model.views of views holds here too.
"""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from edgeorch.lib import json
from edgeorch.model import views
from edgeorch.model.views import IntOrString, LabelSelector, Meta, View

# --- StatefulSets -------------------------------------------------------------------------------


class StatefulRollingUpdate(View, frozen=True, kw_only=True):
    partition: int = 0
    max_unavailable: IntOrString | None = None


class StatefulStrategy(View, frozen=True, kw_only=True):
    type: str = "RollingUpdate"
    rolling_update: StatefulRollingUpdate | None = None


class RetentionPolicy(View, frozen=True, kw_only=True):
    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class Ordinals(View, frozen=True, kw_only=True):
    start: int = 0


class StatefulSetSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    replicas: int = 1
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulStrategy = StatefulStrategy()
    revision_history_limit: int = 10
    min_ready_seconds: int = 0
    volume_claim_templates: list[dict[str, Any]] = []
    persistent_volume_claim_retention_policy: RetentionPolicy = RetentionPolicy()
    ordinals: Ordinals = Ordinals()


class StatefulSetStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    current_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None
    conditions: list[dict[str, Any]] = []


class StatefulSet(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


# --- DaemonSets ---------------------------------------------------------------------------------


class DaemonRollingUpdate(View, frozen=True, kw_only=True):
    max_unavailable: IntOrString = 1
    max_surge: IntOrString = 0


class DaemonStrategy(View, frozen=True, kw_only=True):
    type: str = "RollingUpdate"
    rolling_update: DaemonRollingUpdate | None = None


class DaemonSetSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    update_strategy: DaemonStrategy = DaemonStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


class DaemonSetStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    collision_count: int | None = None
    conditions: list[dict[str, Any]] = []


class DaemonSet(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class ControllerRevision(View, frozen=True, kw_only=True):
    """A version of a StatefulSet's or DaemonSet's template, as a patch that restores it."""

    metadata: Meta
    revision: int = 0
    data: dict[str, Any] = {}


# --- ReplicationControllers ---------------------------------------------------------------------


class ReplicationControllerSpec(View, frozen=True, kw_only=True):
    """As a ReplicaSet's, but for its plain selector."""

    selector: dict[str, str] = {}
    template: dict[str, Any] = {}
    replicas: int = 1
    min_ready_seconds: int = 0


class ReplicationController(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: views.ReplicaSetStatus = views.ReplicaSetStatus()

    def as_replica_set(self) -> views.ReplicaSet:
        spec = views.ReplicaSetSpec(
            selector=LabelSelector(match_labels=self.spec.selector),
            template=self.spec.template,
            replicas=self.spec.replicas,
            min_ready_seconds=self.spec.min_ready_seconds,
        )
        return views.ReplicaSet(metadata=self.metadata, spec=spec, status=self.status)


# --- PodDisruptionBudgets -----------------------------------------------------------------------


class BudgetSpec(View, frozen=True, kw_only=True):
    """Without a selector it speaks of no pods, with an empty one of all in its namespace."""

    selector: LabelSelector | None = None
    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    unhealthy_pod_eviction_policy: str = "IfHealthyBudget"


class BudgetStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    disrupted_pods: dict[str, str] = {}
    conditions: list[views.Condition] = []


class Budget(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()


def budget_of(obj: dict[str, Any]) -> Budget:
    """The view of a decoded budget."""
    return json.convert(obj, Budget)
