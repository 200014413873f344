"""Fields that are kept but not acted on: the client is told, never left to guess.

The answer is a difference: what an object sets, less what the kind's view reads. So it cannot lie:
code that begins to read a field adds it to the view, and the warning goes. A value that asks for
what happens anyway is not worth a warning.
"""

from __future__ import annotations

import functools
import typing
from typing import Any

from edgeorch.model import (
    access,
    autoscaling,
    batch,
    bundles,
    kinds,
    priority_classes,
    runtime_classes,
    storage,
    views,
    workloads,
)

Fields = dict[str, type[views.View] | None]

# Kinds whose every field is either a view's or reported. Others are data that is stored and served.
_VIEWS: dict[str, type[views.View]] = {
    kinds.POD.resource: views.Pod,
    kinds.DEPLOYMENT.resource: views.Deployment,
    kinds.REPLICA_SET.resource: views.ReplicaSet,
    kinds.STATEFUL_SET.resource: workloads.StatefulSet,
    kinds.DAEMON_SET.resource: workloads.DaemonSet,
    kinds.REPLICATION_CONTROLLER.resource: workloads.ReplicationController,
    kinds.POD_DISRUPTION_BUDGET.resource: workloads.Budget,
    kinds.AUTOSCALER.resource: autoscaling.Autoscaler,
    kinds.JOB.resource: batch.Job,
    kinds.CRON_JOB.resource: batch.CronJob,
    kinds.SERVICE.resource: views.Service,
    kinds.NODE.resource: views.Node,
    kinds.PERSISTENT_VOLUME_CLAIM.resource: storage.PersistentVolumeClaim,
    kinds.PERSISTENT_VOLUME.resource: storage.PersistentVolume,
    kinds.STORAGE_CLASS.resource: storage.StorageClass,
    kinds.RUNTIME_CLASS.resource: runtime_classes.RuntimeClass,
    kinds.BUNDLE.resource: bundles.Bundle,
    kinds.PRIORITY_CLASS.resource: priority_classes.PriorityClass,
    kinds.ROLE.resource: access.Role,
    kinds.CLUSTER_ROLE.resource: access.ClusterRole,
    kinds.ROLE_BINDING.resource: access.Binding,
    kinds.CLUSTER_ROLE_BINDING.resource: access.Binding,
}
# Parts that a view keeps undecoded because they are handed on as they are.
_TEMPLATES: dict[tuple[type[views.View], str], type[views.View]] = {
    (views.DeploymentSpec, "template"): views.Pod,
    (views.ReplicaSetSpec, "template"): views.Pod,
    (workloads.StatefulSetSpec, "template"): views.Pod,
    (workloads.DaemonSetSpec, "template"): views.Pod,
    (workloads.ReplicationControllerSpec, "template"): views.Pod,
    (batch.JobSpec, "template"): views.Pod,
    (views.PodSpec, "volumes"): storage.PodVolume,
    (workloads.StatefulSetSpec, "volumeClaimTemplates"): storage.PersistentVolumeClaim,
}
# Kinds that are kept for those who read them; nothing on the device follows them.
_INERT = frozenset(
    kind.resource
    for kind in (
        kinds.INGRESS, kinds.INGRESS_CLASS, kinds.NETWORK_POLICY,
        kinds.LIMIT_RANGE, kinds.RESOURCE_QUOTA, kinds.CSI_DRIVER, kinds.CSI_NODE,
    )
)  # fmt: skip
_OUTSIDE = frozenset({"apiVersion", "kind", "metadata", "status"})
# Set by the system, by defaults, or without meaning on one device that has one scheduler.
_ANYWAY: dict[str, tuple[Any, ...]] = {
    "procMount": ("Default",),
    # Nothing is put out for another here: a pod waits until there is room.
    "preemptionPolicy": ("PreemptLowerPriority", "Never"),
    "serviceAccount": (),
    "clusterIPs": (),
    "ipFamilies": (),
    "ipFamilyPolicy": ("SingleStack", "PreferDualStack"),
    "mountPropagation": ("None",),
    "recursiveReadOnly": ("Disabled",),
    "preferredDuringSchedulingIgnoredDuringExecution": (),
    "nodeAffinityPolicy": (),
    "nodeTaintsPolicy": (),
    "podCIDR": (),
    "podCIDRs": (),
    "providerID": (),
}


def ignored(kind: kinds.Kind, obj: kinds.Object) -> list[str]:
    """Paths of the fields of `obj` that edgeorch stores and serves but does not act on."""
    if kind.resource in _INERT:
        return [kind.kind]
    view = _VIEWS.get(kind.resource)
    if view is None:
        return []
    found: list[str] = []
    _walk(obj, view, "", found)
    return found


def warning(path: str) -> str:
    what = "kind" if path[:1].isupper() else "field"
    return f"{path}: kept, but edgeorch does not act on this {what}"


def _walk(value: dict[str, Any], view: type[views.View], path: str, found: list[str]) -> None:
    known = fields(view)
    for name, inner in value.items():
        if (not path and name in _OUTSIDE) or name == "metadata":
            continue
        place = f"{path}.{name}" if path else name
        if name not in known:
            if not _is_anyway(name, inner):
                found.append(place)
            continue
        below = known[name]
        if below is not None:
            _descend(inner, below, place, found)


def _descend(value: Any, view: type[views.View], path: str, found: list[str]) -> None:
    if isinstance(value, dict):
        _walk(value, view, path, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                _walk(item, view, f"{path}[{index}]", found)


def _is_anyway(name: str, value: Any) -> bool:
    if value in (None, "", [], {}, False):
        return True
    usual = _ANYWAY.get(name)
    return usual is not None and (not usual or value in usual)


@functools.cache
def fields(view: type[views.View]) -> Fields:
    """Wire name of each field a view reads, and the view beneath it if there is one."""
    hints = typing.get_type_hints(view)
    found: Fields = {}
    for name, wire in zip(view.__struct_fields__, view.__struct_encode_fields__, strict=True):
        found[wire] = _TEMPLATES.get((view, wire)) or _view_in(hints[name])
    return found


def _view_in(hint: Any) -> type[views.View] | None:
    """The view inside `X`, `X | None` or `list[X]`."""
    if isinstance(hint, type):
        return hint if issubclass(hint, views.View) else None
    return next((inner for part in typing.get_args(hint) if (inner := _view_in(part))), None)
