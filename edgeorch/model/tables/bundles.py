"""How Bundles are listed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model import bundles
from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

BUNDLE = (
    NAME,
    Column("Phase", "How the wanted version fares."),
    Column("Version", "The version whose objects are on the device."),
    Column("Ready", "Objects that are ready, of all."),
    AGE,
    wide("Wanted", "The version that was pushed last."),
    wide("Message", "What is missing."),
)


def bundle(obj: Object, now: datetime) -> list[Any]:
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    objects = status.get("objects") or {}
    return [
        (obj.get("metadata") or {}).get("name", ""),
        status.get("phase") or "Pending",
        bundles.short(status.get("version") or "") or "<none>",
        f"{objects.get('ready') or 0}/{objects.get('total') or 0}",
        age(obj, now),
        bundles.short(spec.get("version") or "") or "<none>",
        status.get("message") or "<none>",
    ]
