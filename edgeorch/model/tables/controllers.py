"""The tables of StatefulSets, DaemonSets, ReplicationControllers, revisions, claims and budgets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model import selectors
from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

_CONTAINERS = wide("Containers", "Names of the containers in the template.")
_IMAGES = wide("Images", "Images of the containers in the template.")
_SELECTOR = wide("Selector", "Which pods belong to it.")

STATEFUL_SET = (
    NAME,
    Column("Ready", "Pods that are ready, of all that should be."),
    AGE,
    _CONTAINERS,
    _IMAGES,
)
DAEMON_SET = (
    NAME,
    Column("Desired", "Nodes that should run a pod.", type="integer"),
    Column("Current", "Nodes that do.", type="integer"),
    Column("Ready", "Nodes whose pod is ready.", type="integer"),
    Column("Up-to-date", "Nodes whose pod is of the current template.", type="integer"),
    Column("Available", "Nodes whose pod has been ready for long enough.", type="integer"),
    Column("Node Selector", "Which nodes are meant."),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)
REPLICATION_CONTROLLER = (
    NAME,
    Column("Desired", "Pods that should be.", type="integer"),
    Column("Current", "Pods that are.", type="integer"),
    Column("Ready", "Pods that are ready.", type="integer"),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _SELECTOR,
)
CONTROLLER_REVISION = (
    NAME,
    Column("Controller", "Whose revision it is."),
    Column("Revision", "Its place in the history.", type="integer"),
    AGE,
)
DISRUPTION_BUDGET = (
    NAME,
    Column("Min Available", "Pods that must stay available."),
    Column("Max Unavailable", "Pods that may be unavailable."),
    Column("Allowed Disruptions", "Pods that may be evicted now.", type="integer"),
    AGE,
)
CLAIM = (
    NAME,
    Column("Status", "Phase of the claim."),
    Column("Volume", "The volume it is bound to."),
    Column("Capacity", "What that volume holds."),
    Column("Access Modes", "How it may be mounted."),
    Column("StorageClass", "What provides its volume."),
    Column("VolumeAttributesClass", "The class of the volume's attributes."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
)
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    return [_name(obj), ready, age(obj, now), *_containers(spec)]


def daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    wanted = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector") or {}
    return [
        _name(obj),
        *(status.get(field) or 0 for field in counts),
        _pairs(wanted),
        age(obj, now),
        *_containers(spec),
        selectors.format_selector(spec.get("selector")),
    ]


def replication_controller(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        _name(obj),
        spec.get("replicas") or 0,
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age(obj, now),
        *_containers(spec),
        _pairs(spec.get("selector") or {}),
    ]


def controller_revision(obj: Object, now: datetime) -> list[Any]:
    refs = (obj.get("metadata") or {}).get("ownerReferences") or []
    owner = next((ref for ref in refs if ref.get("controller")), None)
    shown = "<none>"
    if owner is not None:
        group, slash, _ = owner["apiVersion"].partition("/")
        kind = owner["kind"].lower()
        shown = f"{kind}.{group}/{owner['name']}" if slash else f"{kind}/{owner['name']}"
    return [_name(obj), shown, obj.get("revision") or 0, age(obj, now)]


def disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    limits = [
        "N/A" if spec.get(field) is None else str(spec[field])
        for field in ("minAvailable", "maxUnavailable")
    ]
    return [_name(obj), *limits, status.get("disruptionsAllowed") or 0, age(obj, now)]


def claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    leaving = (obj.get("metadata") or {}).get("deletionTimestamp")
    volume = spec.get("volumeName") or ""
    capacity, modes = "", ""
    if volume:
        capacity = str((status.get("capacity") or {}).get("storage") or "")
        modes = ",".join(_MODES.get(mode, mode) for mode in status.get("accessModes") or [])
    return [
        _name(obj),
        "Terminating" if leaving else status.get("phase") or "",
        volume,
        capacity,
        modes,
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _pairs(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _containers(spec: Object) -> list[str]:
    template = spec.get("template") or {}
    found = (template.get("spec") or {}).get("containers") or []
    return [
        ",".join(container.get("name", "") for container in found),
        ",".join(container.get("image", "") for container in found),
    ]
