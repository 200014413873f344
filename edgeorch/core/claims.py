"""Adoption and release: which objects a controller owns, by controller reference and selector.

An object that matches and has no controller is adopted; one that is owned and matches no more is
let go. A controller that is being deleted does neither. As pkg/controller's
controller_ref_manager.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct, field

from edgeorch.lib import json
from edgeorch.model import selectors, views
from edgeorch.model.kinds import Object


class Claimable(Protocol):
    @property
    def metadata(self) -> Any: ...


T = TypeVar("T", bound=Claimable)


class Claims(Struct, Generic[T], frozen=True):
    """`owned` are kept as they are, `adopt` and `release` want a change of their references."""

    owned: list[T] = field(default_factory=list)
    adopt: list[T] = field(default_factory=list)
    release: list[T] = field(default_factory=list)


def claim(
    uid: str, selector: views.LabelSelector, deleting: bool, candidates: Iterable[T]
) -> Claims[T]:
    """`candidates`: objects of the namespace with this controller or with none."""
    found: Claims[T] = Claims()
    match = selectors.label_selector(json.to_builtins(selector))
    for each in candidates:
        meta = each.metadata
        owner = next((ref.uid for ref in meta.owner_references if ref.controller), "")
        if owner and owner != uid:
            continue
        matches = match(meta.labels)
        if owner:
            (found.owned if matches or deleting else found.release).append(each)
        elif matches and not deleting and not meta.deletion_timestamp:
            found.adopt.append(each)
    return found


def reference(owner: Object) -> Object:
    """The controller reference to `owner` that its dependents carry."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adopted(obj: Object, ref: Object) -> Object:
    """`obj` with `ref` as its controller, unless it has got another one meanwhile."""
    meta = obj["metadata"]
    refs = meta.get("ownerReferences") or []
    if any(each.get("controller") for each in refs) or meta.get("deletionTimestamp"):
        return obj
    return {**obj, "metadata": {**meta, "ownerReferences": [*refs, ref]}}


def released(obj: Object, uid: str) -> Object:
    """`obj` without its references to the owner `uid`."""
    meta = dict(obj["metadata"])
    refs = [ref for ref in meta.get("ownerReferences") or [] if ref["uid"] != uid]
    meta.pop("ownerReferences", None)
    if refs:
        meta["ownerReferences"] = refs
    return {**obj, "metadata": meta}
