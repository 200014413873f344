"""Defaults of kinds that are kept and served (pkg/apis/{networking,rbac,...})."""

from __future__ import annotations

from edgeorch.model import bundles
from edgeorch.model.defaults import pods
from edgeorch.model.kinds import Object

_RBAC = "rbac.authorization.k8s.io"


def network_policy(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def role_binding(obj: Object) -> None:
    if obj.get("roleRef"):
        obj["roleRef"].setdefault("apiGroup", _RBAC)
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def priority_class(obj: Object) -> None:
    if not obj.get("preemptionPolicy"):
        obj["preemptionPolicy"] = "PreemptLowerPriority"


def storage_class(obj: Object) -> None:
    if not obj.get("reclaimPolicy"):
        obj["reclaimPolicy"] = "Delete"
    if not obj.get("volumeBindingMode"):
        obj["volumeBindingMode"] = "Immediate"


def volume(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if not spec.get("volumeMode"):
        spec["volumeMode"] = "Filesystem"


def limit_range(obj: Object) -> None:
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        if item.get("max"):
            item["default"] = {**item["max"], **(item.get("default") or {})}
        asked = {**(item.get("min") or {}), **(item.get("default") or {})}
        if asked:
            item["defaultRequest"] = {**asked, **(item.get("defaultRequest") or {})}


def pod_template(obj: Object) -> None:
    if obj.get("template"):
        pods.template(obj["template"])


def bundle(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("deadlineSeconds", bundles.DEADLINE)
    spec.setdefault("minReadySeconds", bundles.MIN_READY)
