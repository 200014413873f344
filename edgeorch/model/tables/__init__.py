"""Server-side printing: the columns and cells that `kubectl get` shows.

Columns and texts are those of Kubernetes' printers (pkg/printers/internalversion). Cells are made
for the wide form; clients leave out columns whose priority is not 0. A kind without a printer
shows its name and when it was created.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from edgeorch.model import conversion, kinds
from edgeorch.model.kinds import Object
from edgeorch.model.tables import (
    autoscaling,
    batch,
    bundles,
    controllers,
    core,
    pods,
    services,
    stored,
    workloads,
)
from edgeorch.model.tables.ages import human_duration, since
from edgeorch.model.tables.columns import CREATED, NAME, Column

__all__ = ["columns", "conditions", "human_duration", "row", "since"]

Row = Callable[[Object, datetime], list[Any]]

_PRINTERS: dict[str, tuple[tuple[Column, ...], Row]] = {
    "pods": (pods.COLUMNS, pods.row),
    "deployments.apps": (workloads.DEPLOYMENT, workloads.deployment),
    "replicasets.apps": (workloads.REPLICA_SET, workloads.replica_set),
    "statefulsets.apps": (controllers.STATEFUL_SET, controllers.stateful_set),
    "daemonsets.apps": (controllers.DAEMON_SET, controllers.daemon_set),
    "replicationcontrollers": (
        controllers.REPLICATION_CONTROLLER,
        controllers.replication_controller,
    ),
    "controllerrevisions.apps": (
        controllers.CONTROLLER_REVISION,
        controllers.controller_revision,
    ),
    "poddisruptionbudgets.policy": (
        controllers.DISRUPTION_BUDGET,
        controllers.disruption_budget,
    ),
    "persistentvolumeclaims": (controllers.CLAIM, controllers.claim),
    "jobs.batch": (batch.JOB, batch.job),
    "cronjobs.batch": (batch.CRON_JOB, batch.cron_job),
    "services": (services.SERVICE, services.service),
    "endpoints": (services.ENDPOINTS, services.endpoints),
    "endpointslices.discovery.k8s.io": (services.ENDPOINT_SLICE, services.endpoint_slice),
    "nodes": (core.NODE, core.node),
    "namespaces": (core.NAMESPACE, core.namespace),
    "configmaps": (core.CONFIG_MAP, core.config_map),
    "secrets": (core.SECRET, core.secret),
    "serviceaccounts": (core.SERVICE_ACCOUNT, core.service_account),
    "events": (core.EVENT, core.event),
    "ingresses.networking.k8s.io": (stored.INGRESS, stored.ingress),
    "ingressclasses.networking.k8s.io": (stored.INGRESS_CLASS, stored.ingress_class),
    "networkpolicies.networking.k8s.io": (stored.NETWORK_POLICY, stored.network_policy),
    "leases.coordination.k8s.io": (stored.LEASE, stored.lease),
    "priorityclasses.scheduling.k8s.io": (stored.PRIORITY_CLASS, stored.priority_class),
    "runtimeclasses.node.k8s.io": (stored.RUNTIME_CLASS, stored.runtime_class),
    "resourcequotas": (stored.QUOTA, stored.quota),
    "limitranges": (stored.PLAIN, stored.plain),
    "roles.rbac.authorization.k8s.io": (stored.PLAIN, stored.plain),
    "clusterroles.rbac.authorization.k8s.io": (stored.PLAIN, stored.plain),
    "rolebindings.rbac.authorization.k8s.io": (stored.BINDING, stored.binding),
    "clusterrolebindings.rbac.authorization.k8s.io": (stored.BINDING, stored.binding),
    "storageclasses.storage.k8s.io": (stored.STORAGE_CLASS, stored.storage_class),
    "persistentvolumes": (stored.VOLUME, stored.volume),
    "componentstatuses": (stored.COMPONENT, stored.component),
    "podtemplates": (stored.TEMPLATE, stored.template),
    "bundles.edgeorch.io": (bundles.BUNDLE, bundles.bundle),
    "horizontalpodautoscalers.autoscaling": (autoscaling.AUTOSCALER, autoscaling.autoscaler),
}


def _generic(obj: Object, now: datetime) -> list[Any]:
    meta = obj.get("metadata") or {}
    return [meta.get("name", ""), meta.get("creationTimestamp") or ""]


_GENERIC: tuple[tuple[Column, ...], Row] = ((NAME, CREATED), _generic)


def columns(kind: kinds.Kind) -> list[dict[str, Any]]:
    """metav1.TableColumnDefinition of each column."""
    return [
        column.definition() for column in _PRINTERS.get(kind.view_of or kind.resource, _GENERIC)[0]
    ]


def row(kind: kinds.Kind, obj: Object, now: datetime) -> list[Any]:
    """One cell for each column. `now` is aware."""
    if kind.view_of:
        obj = conversion.unviewed(kind, obj)
    return _PRINTERS.get(kind.view_of or kind.resource, _GENERIC)[1](obj, now)


def conditions(kind: kinds.Kind, obj: Object) -> list[dict[str, str]]:
    """TableRow conditions: whether the row stands for something that has ended."""
    return pods.conditions(obj) if kind.resource == "pods" else []
