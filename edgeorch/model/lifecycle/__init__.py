"""What happens to an object around a write, apart from its author's will.

Kubernetes calls it the registry's strategy: who sets uid and generation, which half of an object a
subresource may touch, what a delete leaves behind. Pure: identity, time and randomness are
arguments; inputs are never changed, results share what they can with them.

The caller's order is: create: prepare_create, validate, store; update: prepare_update, validate,
store only if `changed`, then remove if `removable`; delete: prepare_delete, then store or remove.
Times are RFC 3339 texts in UTC with whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeorch.model import kinds
from edgeorch.model.kinds import Object
from edgeorch.model.lifecycle import batch, pods, services
from edgeorch.model.lifecycle.deletion import DeleteOptions, prepare_delete, removable

__all__ = [
    "SUFFIX_ALPHABET",
    "SUFFIX_LENGTH",
    "DeleteOptions",
    "changed",
    "prepare_create",
    "prepare_delete",
    "prepare_update",
    "qos_class",
    "removable",
]

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
_LONGEST_BASE = 63 - SUFFIX_LENGTH

# Kinds with a status whose generation nobody counts.
_UNCOUNTED = frozenset(("namespaces", "nodes", "services"))
_COUNTED_ANYWAY = frozenset(("endpointslices.discovery.k8s.io",))

qos_class = pods.qos_class


def prepare_create(
    kind: kinds.Kind, obj: Object, *, uid: str, now: str, suffix: Callable[[], str]
) -> Object:
    """`suffix` gives the random end of a generated name and is called only when one is needed."""
    meta = {
        key: value
        for key, value in (obj.get("metadata") or {}).items()
        if key not in _SERVER_SET and value is not None
    }
    if meta.get("generateName") and not meta.get("name"):
        meta["name"] = meta["generateName"][:_LONGEST_BASE] + suffix()
    if not kind.namespaced:
        meta.pop("namespace", None)
    meta["uid"] = uid
    meta["creationTimestamp"] = now
    if _counts_generation(kind):
        meta["generation"] = 1
    new = {**obj, "metadata": meta}
    if kind.has_status and kind.resource != "nodes":
        new["status"] = {}
    match kind.resource:
        case "pods":
            new["status"] = pods.first_status(new)
        case "jobs.batch":
            new["spec"] = batch.with_selector(obj, meta.get("name", ""), uid)
            # As a read of it would default them.
            labels = (new["spec"].get("template") or {}).get("metadata", {}).get("labels")
            if labels and not meta.get("labels"):
                meta["labels"] = dict(labels)
        case "services":
            new["status"] = {"loadBalancer": {}}
        case "persistentvolumeclaims" | "persistentvolumes":
            new["status"] = {"phase": "Pending"}
        case "namespaces":
            new["status"] = {"phase": "Active"}
            new["spec"] = _with_namespace_finalizer(obj.get("spec") or {})
        case _:
            pass
    return new


_SERVER_SET = frozenset(
    (
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
        "uid",
        "creationTimestamp",
    )
)


def _with_namespace_finalizer(spec: Object) -> Object:
    finalizers = list(spec.get("finalizers") or [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    return {**spec, "finalizers": finalizers}


def _counts_generation(kind: kinds.Kind) -> bool:
    if kind.resource in _COUNTED_ANYWAY:
        return True
    return kind.has_status and kind.resource not in _UNCOUNTED


def prepare_update(kind: kinds.Kind, new: Object, old: Object, *, subresource: str = "") -> Object:
    """`subresource` is "", of `validation.update`: each leaves the others' part as it was."""
    meta, before = dict(new.get("metadata") or {}), old.get("metadata") or {}
    for field in ("uid", "resourceVersion"):
        if not meta.get(field) and before.get(field):
            meta[field] = before[field]
    for field in ("creationTimestamp", "deletionTimestamp"):
        if before.get(field):
            meta[field] = before[field]
    if meta.get("deletionGracePeriodSeconds") is None and "deletionGracePeriodSeconds" in before:
        meta["deletionGracePeriodSeconds"] = before["deletionGracePeriodSeconds"]
    _keep(meta, before, "generation")
    updated = {**new, "metadata": meta}
    if subresource == "status":
        return _status_update(kind, updated, old)
    if subresource == "ephemeralcontainers":
        updated = pods.with_ephemeral(updated, old)
        meta = updated["metadata"]
    if kind.has_status:
        _keep(updated, old, "status")
    _keep_given(kind, updated, old, subresource)
    counts = subresource != "binding" and _counts_generation(kind)
    if counts and _new_generation(kind, updated, old):
        meta["generation"] = (before.get("generation") or 0) + 1
    return updated


def _keep_given(kind: kinds.Kind, updated: Object, old: Object, subresource: str) -> None:
    """What the server once gave the object stays where a writer leaves it out."""
    spec, before = updated.get("spec") or {}, old.get("spec") or {}
    match kind.resource:
        case "namespaces" if subresource != "finalize":
            updated["spec"] = dict(spec)
            _keep(updated["spec"], before, "finalizers")
        case "pods":
            updated["spec"] = pods.with_priority(spec, before)
        case "services":
            updated["spec"] = services.carry_over(spec, before)
        case _:
            pass


def _status_update(kind: kinds.Kind, new: Object, old: Object) -> Object:
    meta, before = new["metadata"], old.get("metadata") or {}
    updated = {**old, "metadata": meta, "status": new.get("status") or {}}
    if kind.resource == "pods":
        _keep(meta, before, "ownerReferences")
        qos = (old.get("status") or {}).get("qosClass")
        if qos and not updated["status"].get("qosClass"):
            updated["status"] = {**updated["status"], "qosClass": qos}
    elif kind.resource == "deployments.apps":
        _keep(meta, before, "labels")
    return updated


def _keep(holder: Object, before: Object, field: str) -> None:
    if before.get(field) is None:
        holder.pop(field, None)
    else:
        holder[field] = before[field]


def _new_generation(kind: kinds.Kind, new: Object, old: Object) -> bool:
    meta, before = new["metadata"], old.get("metadata") or {}
    if kind.resource in _COUNTED_ANYWAY:
        if (meta.get("labels") or {}) != (before.get("labels") or {}):
            return True
        return _body(new) != _body(old)
    if (new.get("spec") or {}) != (old.get("spec") or {}):
        return True
    # Rollout history lives in a Deployment's annotations, so they count too.
    annotated = (meta.get("annotations") or {}) != (before.get("annotations") or {})
    return kind.resource == "deployments.apps" and annotated


def _body(obj: Object) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def changed(old: Object, new: Object) -> bool:
    """Whether storing `new` over `old` would change anything but the time in its books."""

    def told(obj: Object) -> Object:
        meta = obj.get("metadata") or {}
        kept = {k: v for k, v in meta.items() if k not in ("resourceVersion", "managedFields")}
        return {**obj, "metadata": kept}

    return told(old) != told(new) or _books(old) != _books(new)


def _books(obj: Object) -> list[Object]:
    entries = (obj.get("metadata") or {}).get("managedFields") or ()
    return [{k: v for k, v in entry.items() if k != "time"} for entry in entries]
