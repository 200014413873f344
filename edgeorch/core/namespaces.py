"""A namespace that is being deleted: what its status says of what is left in it.

Conditions, reasons and messages of pkg/controller/namespace/deletion/status_condition_utils.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from edgeorch.model import views
from edgeorch.model.kinds import Object

FINALIZER = "kubernetes"
BUILT_IN = ("default", "kube-node-lease", "kube-public", "kube-system")


class Left(Struct, frozen=True):
    """What remains: objects by resource, those with finalizers by finalizer, and failures."""

    resources: Mapping[str, int] = field(default_factory=dict)
    finalizers: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


def status(old: views.NamespaceStatus, left: Left, stamp: str) -> Object:
    known = {each.type: each for each in old.conditions}
    said = (
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        _content_failure(left),
        _content_remaining(left),
        _finalizers_remaining(left),
    )  # fmt: skip
    conditions = [_condition(known.get(each[0]), *each, stamp) for each in said]
    return {"phase": "Terminating", "conditions": conditions}


def _content_failure(left: Left) -> tuple[str, str, str, str]:
    type_ = "NamespaceDeletionContentFailure"
    if left.failures:
        told = ", ".join(sorted(left.failures))
        message = f"Failed to delete all resource types, {len(left.failures)} remaining: {told}"
        return type_, "True", "ContentDeletionFailed", message
    message = "All content successfully deleted, may be waiting on finalization"
    return type_, "False", "ContentDeleted", message


def _content_remaining(left: Left) -> tuple[str, str, str, str]:
    if not left.resources:
        message = "All content successfully removed"
        return "NamespaceContentRemaining", "False", "ContentRemoved", message
    told = ", ".join(f"{n} has {c} resource instances" for n, c in sorted(left.resources.items()))
    message = f"Some resources are remaining: {told}"
    return "NamespaceContentRemaining", "True", "SomeResourcesRemain", message


def _finalizers_remaining(left: Left) -> tuple[str, str, str, str]:
    if not left.finalizers:
        message = "All content-preserving finalizers finished"
        return "NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", message
    told = ", ".join(f"{n} in {c} resource instances" for n, c in sorted(left.finalizers.items()))
    message = f"Some content in the namespace has finalizers remaining: {told}"
    return "NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message


def _condition(
    known: views.Condition | None, type_: str, state: str, reason: str, message: str, stamp: str
) -> Object:
    unchanged = known is not None and known.status == state
    transition = known.last_transition_time if known is not None and unchanged else stamp
    return {
        "type": type_,
        "status": state,
        "lastTransitionTime": transition or stamp,
        "reason": reason,
        "message": message,
    }


def finalized(obj: Object) -> Object:
    """Without the namespace controller's own finalizer."""
    left = [each for each in obj.get("spec", {}).get("finalizers") or [] if each != FINALIZER]
    spec = {name: value for name, value in obj.get("spec", {}).items() if name != "finalizers"}
    return {**obj, "spec": {**spec, "finalizers": left} if left else spec}
