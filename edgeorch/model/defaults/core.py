"""Defaults of the plain core kinds: Namespaces, Nodes, Secrets, Events."""

from __future__ import annotations

import base64

from edgeorch.model.kinds import Object

NAME_LABEL = "kubernetes.io/metadata.name"


def namespace(obj: Object) -> None:
    meta = obj["metadata"] = obj.get("metadata") or {}
    if meta.get("name"):
        labels = meta["labels"] = meta.get("labels") or {}
        labels[NAME_LABEL] = meta["name"]
    status = obj["status"] = obj.get("status") or {}
    if not status.get("phase"):
        status["phase"] = "Active"


def node(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if spec.get("podCIDR") and (spec.get("podCIDRs") or [""])[0] != spec["podCIDR"]:
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    status = obj.get("status")
    if status and status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def secret(obj: Object) -> None:
    """`stringData` is write-only: it lands in `data` and is not kept."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    texts = obj.pop("stringData", None)
    if texts:
        data = obj["data"] = obj.get("data") or {}
        for key, text in texts.items():
            data[key] = base64.b64encode(text.encode()).decode()


def event(obj: Object) -> None:
    """Both are plain strings in v1, so they are always shown."""
    for field in ("reportingComponent", "reportingInstance"):
        obj.setdefault(field, "")
