"""What a delete does: remove at once, or mark the object and wait.

An object waits while it has finalizers; a Pod waits for its grace period too; a Namespace waits
until it is empty. `deletionTimestamp` is the time at which grace ends. Deleting twice may shorten
the grace, never lengthen it (apiserver registry/rest BeforeDelete, registry/generic/registry).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from edgeorch.model import errors, kinds, priority_classes
from edgeorch.model.kinds import Object

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_IMMORTAL = ("default", "kube-system", "kube-public")
_POLICIES = ("Foreground", "Background", "Orphan")


class DeleteOptions(Struct, frozen=True):
    """metav1.DeleteOptions, as far as they decide anything."""

    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    uid: str | None = None
    """Precondition, as is `resource_version`."""
    resource_version: str | None = None

    @classmethod
    def of(cls, body: Object) -> DeleteOptions:
        """From a decoded DeleteOptions. Raises StatusError (422) when they contradict."""
        preconditions = body.get("preconditions") or {}
        options = cls(
            grace_period_seconds=body.get("gracePeriodSeconds"),
            propagation_policy=body.get("propagationPolicy"),
            orphan_dependents=body.get("orphanDependents"),
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
        )
        found = options._contradictions()
        if found:
            raise errors.invalid("DeleteOptions", "meta.k8s.io", "", found)
        return options

    @property
    def unspecific(self) -> bool:
        """Nothing is said of the dependents."""
        return self.propagation_policy is None and self.orphan_dependents is None

    def _contradictions(self) -> list[errors.Cause]:
        found = []
        policy = self.propagation_policy
        if policy is not None and self.orphan_dependents is not None:
            why = "orphanDependents and deletionPropagation cannot be both set"
            found.append(errors.invalid_value("propagationPolicy", policy, why))
        if policy is not None and policy not in _POLICIES:
            supported = (*_POLICIES, "nil")
            found.append(errors.not_supported("propagationPolicy", policy, supported))
        return found


def prepare_delete(
    kind: kinds.Kind, obj: Object, options: DeleteOptions, now: str
) -> Object | None:
    """None: remove the object now. Otherwise the object to store, which is `obj` itself when the
    delete changes nothing. Raises StatusError for failed preconditions and immortal namespaces.
    """
    _check_preconditions(kind, obj, options)
    if kind.resource == "namespaces":
        return _delete_namespace(obj, options, now)
    meta = obj.get("metadata") or {}
    if kind is kinds.PRIORITY_CLASS and meta.get("name") in priority_classes.SYSTEM:
        why = "this is a system priority class and cannot be deleted"
        raise errors.forbidden(kind.resource, meta["name"], why)
    if kind.resource == "jobs.batch" and options.unspecific and FOREGROUND not in _present(meta):
        # For the sake of old clients, as registry/batch/job: a Job leaves its pods behind.
        options = replace(options, propagation_policy="Orphan")
    graceful = kind.resource == "pods"
    if graceful and meta.get("deletionTimestamp"):
        return _shorten(obj, options)
    finalizers = _finalizers(meta, options)
    grace = _grace(obj, options) if graceful else 0
    if not finalizers and grace == 0:
        return None
    return _marked(obj, finalizers, grace, now)


def removable(kind: kinds.Kind, obj: Object) -> bool:
    """Whether a stored object that is being deleted has nothing left to wait for."""
    meta = obj.get("metadata") or {}
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    if kind.resource == "namespaces":
        return not (obj.get("spec") or {}).get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")


def _check_preconditions(kind: kinds.Kind, obj: Object, options: DeleteOptions) -> None:
    meta = obj.get("metadata") or {}
    name = meta.get("name", "")
    uid, version = meta.get("uid", ""), meta.get("resourceVersion", "")
    if options.uid is not None and options.uid != uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record"
            f" ({uid}). The object might have been deleted and then recreated"
        )
        raise errors.conflict(kind.resource, name, why)
    if options.resource_version is not None and options.resource_version != version:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match"
            f" the ResourceVersion in record ({version}). The object might have been modified"
        )
        raise errors.conflict(kind.resource, name, why)


def _finalizers(meta: Object, options: DeleteOptions) -> list[str]:
    """Those of the object, with the garbage collector's as the options ask for them."""
    present = _present(meta)
    others = [name for name in present if name not in (ORPHAN, FOREGROUND)]
    if options.orphan_dependents is not None:
        return [*others, ORPHAN] if options.orphan_dependents else others
    match options.propagation_policy:
        case "Orphan":
            return [*others, ORPHAN]
        case "Foreground":
            return [*others, FOREGROUND]
        case "Background":
            return others
        case _:
            return list(present)


def _present(meta: Object) -> list[str]:
    return meta.get("finalizers") or []


def _grace(obj: Object, options: DeleteOptions) -> int:
    spec = obj.get("spec") or {}
    if not spec.get("nodeName"):
        return 0
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    grace = options.grace_period_seconds
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds") or 0
    return 1 if grace < 0 else grace


def _marked(obj: Object, finalizers: list[str], grace: int, now: str) -> Object:
    meta = dict(obj.get("metadata") or {})
    if meta.get("deletionTimestamp"):
        if finalizers == (meta.get("finalizers") or []):
            return obj
    else:
        meta["deletionTimestamp"] = _later(now, grace)
        meta["deletionGracePeriodSeconds"] = grace
        if meta.get("generation"):
            meta["generation"] += 1
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    return {**obj, "metadata": meta}


def _shorten(obj: Object, options: DeleteOptions) -> Object | None:
    meta = dict(obj.get("metadata") or {})
    finalizers = _finalizers(meta, options)
    before = meta.get("deletionGracePeriodSeconds")
    if before is None:
        return None if not finalizers else obj
    grace = options.grace_period_seconds
    if grace is None or grace >= before:
        return None if before == 0 and not finalizers else obj
    grace = max(grace, 0)
    if grace == 0 and not finalizers:
        return None
    meta["deletionTimestamp"] = _later(meta["deletionTimestamp"], grace - before)
    meta["deletionGracePeriodSeconds"] = grace
    return {**obj, "metadata": meta}


def _delete_namespace(obj: Object, options: DeleteOptions, now: str) -> Object | None:
    meta = dict(obj.get("metadata") or {})
    if meta.get("name") in _IMMORTAL:
        raise errors.forbidden("namespaces", meta["name"], "this namespace may not be deleted")
    finalizers = _finalizers(meta, options)
    waits = bool((obj.get("spec") or {}).get("finalizers")) or bool(finalizers)
    if not waits:
        return None
    if meta.get("deletionTimestamp"):
        return obj
    meta["deletionTimestamp"] = now
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    status = {**(obj.get("status") or {}), "phase": "Terminating"}
    return {**obj, "metadata": meta, "status": status}


def _later(time: str, seconds: int) -> str:
    moment = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
