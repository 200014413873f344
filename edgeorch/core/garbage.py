"""Owner references: what becomes of an object when its owners go.

As pkg/controller/garbagecollector. An owner is `Solid` while it exists under its uid, `Waiting`
while it is being deleted in the foreground, `Absent` when it is gone; owners live in the
dependent's namespace or have none, so a reference across namespaces is absent. An owner of a kind
that is not served is never held against its dependents.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from msgspec import Struct

from edgeorch.model import views
from edgeorch.model.kinds import Object

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


class Owner(enum.Enum):
    SOLID = "solid"
    WAITING = "waiting"
    ABSENT = "absent"


class Dependent(Struct, frozen=True):
    """An object with owners, as the collector remembers it."""

    uid: str
    owners: tuple[views.OwnerReference, ...]
    deleting_dependents: bool


class Delete(Struct, frozen=True):
    policy: str


class DropOwners(Struct, frozen=True):
    """Remove the references to these uids."""

    uids: frozenset[str]


class OrphanDependents(Struct, frozen=True):
    """Free all dependents of the object, then let it go."""


class RemoveFinalizer(Struct, frozen=True):
    name: str


class Unblock(Struct, frozen=True):
    """No longer block the deletion of the object's owners: breaks a cycle."""


class DeleteDependents(Struct, frozen=True):
    """Look at the dependents that still block the object's deletion."""


Action = Delete | DropOwners | OrphanDependents | RemoveFinalizer | Unblock | DeleteDependents


def plan(
    meta: views.Meta,
    owner: Callable[[views.OwnerReference], Owner],
    dependents: Sequence[Dependent],
) -> list[Action]:
    """What to do about one object now."""
    if meta.deletion_timestamp:
        return _while_deleting(meta, dependents)
    if not meta.owner_references:
        return []
    states = {ref.uid: owner(ref) for ref in meta.owner_references}
    gone = frozenset(uid for uid, state in states.items() if state is not Owner.SOLID)
    if not gone:
        return []
    if len(gone) < len(states):
        return [DropOwners(gone)]
    if Owner.WAITING in states.values() and dependents:
        actions: list[Action] = []
        if any(each.deleting_dependents for each in dependents):
            actions.append(Unblock())
        return [*actions, Delete("Foreground")]
    return [Delete(_policy(meta.finalizers))]


def _while_deleting(meta: views.Meta, dependents: Sequence[Dependent]) -> list[Action]:
    if ORPHAN in meta.finalizers:
        return [OrphanDependents(), RemoveFinalizer(ORPHAN)]
    if FOREGROUND not in meta.finalizers:
        return []
    if any(_blocks(each, meta) for each in dependents):
        return [DeleteDependents()]
    return [RemoveFinalizer(FOREGROUND)]


def _blocks(dependent: Dependent, meta: views.Meta) -> bool:
    """What waits for the object itself is not waited for: neither the object that owns itself, nor
    its owner that goes in the foreground too."""
    if dependent.uid == meta.uid:
        return False
    if dependent.deleting_dependents and any(
        ref.uid == dependent.uid for ref in meta.owner_references
    ):
        return False
    return any(ref.uid == meta.uid and ref.block_owner_deletion for ref in dependent.owners)


def _policy(finalizers: Sequence[str]) -> str:
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def remember(meta: views.Meta) -> Dependent | None:
    """What to keep of an object; None when it has no owners."""
    if not meta.owner_references:
        return None
    return Dependent(
        meta.uid,
        tuple(meta.owner_references),
        bool(meta.deletion_timestamp) and FOREGROUND in meta.finalizers,
    )


def state(meta: views.Meta | None, uid: str) -> Owner:
    """What the object found under an owner reference's name (None: nothing) is to `uid`."""
    if meta is None or meta.uid != uid:
        return Owner.ABSENT
    if meta.deletion_timestamp and FOREGROUND in meta.finalizers:
        return Owner.WAITING
    return Owner.SOLID


def without_finalizer(obj: Object, name: str) -> Object:
    meta = dict(obj["metadata"])
    left = [each for each in meta.get("finalizers") or [] if each != name]
    meta.pop("finalizers", None)
    if left:
        meta["finalizers"] = left
    return {**obj, "metadata": meta}


def without_owners(obj: Object, uids: frozenset[str]) -> Object:
    meta = dict(obj["metadata"])
    left = [ref for ref in meta.get("ownerReferences") or [] if ref["uid"] not in uids]
    meta.pop("ownerReferences", None)
    if left:
        meta["ownerReferences"] = left
    return {**obj, "metadata": meta}


def unblocking(obj: Object) -> Object:
    refs = obj["metadata"].get("ownerReferences") or []
    refs = [{**ref, "blockOwnerDeletion": False} for ref in refs]
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": refs}}
