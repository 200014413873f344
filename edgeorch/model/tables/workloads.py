"""The tables of Deployments and ReplicaSets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model import selectors
from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

_WIDE = (
    wide("Containers", "Names of the containers in the template."),
    wide("Images", "Images of the containers in the template."),
    wide("Selector", "Which pods belong to it."),
)

DEPLOYMENT = (
    NAME,
    Column("Ready", "Pods that are ready, of all that should be."),
    Column("Up-to-date", "Pods made from the current template."),
    Column("Available", "Pods that have been ready for long enough."),
    AGE,
    *_WIDE,
)

REPLICA_SET = (
    NAME,
    Column("Desired", "Pods that should be.", type="integer"),
    Column("Current", "Pods that are.", type="integer"),
    Column("Ready", "Pods that are ready.", type="integer"),
    AGE,
    *_WIDE,
)


def deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        (obj.get("metadata") or {}).get("name", ""),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
        *_template(spec),
    ]


def replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        (obj.get("metadata") or {}).get("name", ""),
        spec.get("replicas") or 0,
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age(obj, now),
        *_template(spec),
    ]


def _template(spec: Object) -> list[str]:
    template = spec.get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or []
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        selectors.format_selector(spec.get("selector")),
    ]
