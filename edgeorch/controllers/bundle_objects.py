"""The objects of bundles: tried, applied and pruned.

Everything is applied under the bundle's own field manager (server-side apply, KEP-555), by force:
the fleet's word counts on its device. An object belongs to a bundle as long as that manager holds
fields of it, its label (`edgeorch.io/bundle`) at least. What another bundle holds is never touched,
and what others have applied something to is let go instead of deleted.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Sequence

from edgeorch.core import bundle_order
from edgeorch.lib import clock as clocks
from edgeorch.lib import json
from edgeorch.model import apply, bundles, errors, kinds, schema
from edgeorch.model.bundles import Changes, Item
from edgeorch.model.kinds import Kind, Object
from edgeorch.store.objects import Objects
from edgeorch.store.stored import Stored

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Resource, namespace, name."""
# What every namespace has of itself.
_STANDING = {("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")}


class BundleObjects:
    def __init__(self, objects: Objects, table: schema.Schema, clock: clocks.Clock) -> None:
        self._objects = objects
        self._table = table
        self._clock = clock

    # --- looking --------------------------------------------------------------------------------

    def held(self, bundle: str) -> Iterator[tuple[Kind, Stored]]:
        """Every object of which the bundle holds fields."""
        marker = json.encode(bundles.manager(bundle))
        for kind in self._objects.registry:
            for stored in self._objects.list(kind.resource).items:
                # Most objects are nobody's: a look at the bytes spares decoding them.
                if marker in stored.raw and bundle in bundles.managers_in(stored.decode()):
                    yield kind, stored

    async def examine(
        self, bundle: str, items: Sequence[Item]
    ) -> tuple[Changes, list[errors.Cause]]:
        """What `apply` and `prune` would do, and every reason why they could not."""
        changes, causes = Changes(), []
        named = {item.obj["metadata"]["name"] for item in items if item.kind is kinds.NAMESPACE}
        coming = {name for name in named if self._objects.find("namespaces", "", name) is None}
        for item in bundle_order.ordered(items):
            try:
                self._refuse_foreign(bundle, item)
                await self._one(bundle, item, changes, coming=coming, dry_run=True)
            except errors.StatusError as error:
                causes += _causes(item, error)
        await self._prune(bundle, {item.key for item in items}, changes, dry_run=True)
        return changes, causes

    def _refuse_foreign(self, bundle: str, item: Item) -> None:
        """Raises StatusError (409)."""
        stored = self._objects.find(*item.key)
        if stored is None:
            return
        obj = stored.decode()
        others = [name for name in bundles.managers_in(obj) if name != bundle]
        if others:
            why = f"it belongs to bundle {others[0]}"
            raise errors.conflict(item.kind.resource, stored.name, why)
        for owner in obj["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                why = f"it is controlled by {owner['kind']} {owner['name']}"
                raise errors.conflict(item.kind.resource, stored.name, why)

    # --- changing -------------------------------------------------------------------------------

    async def apply(self, bundle: str, items: Sequence[Item]) -> Changes:
        """Go as far as it goes; what could not be done is in `failed`."""
        changes = Changes()
        for item in bundle_order.ordered(items):
            try:
                self._refuse_foreign(bundle, item)
                await self._one(bundle, item, changes)
            except errors.StatusError as error:
                changes.failed.append(f"{_told(item.kind, item.key)}: {error.message}")
        if not changes.failed:
            await self._prune(bundle, {item.key for item in items}, changes)
        return changes

    async def prune(self, bundle: str, keep: Collection[Key] = ()) -> Changes:
        """Take away what the bundle holds besides `keep`."""
        changes = Changes()
        await self._prune(bundle, keep, changes)
        return changes

    async def _one(
        self,
        bundle: str,
        item: Item,
        changes: Changes,
        *,
        coming: Collection[str] = (),
        dry_run: bool = False,
    ) -> None:
        """Raises StatusError."""
        by = bundles.manager(bundle)
        before = self._objects.find(*item.key)
        name = _told(item.kind, item.key)
        if before is not None and before.decode()["metadata"].get("deletionTimestamp"):
            if not dry_run:
                raise errors.conflict(item.kind.resource, before.name, "it is being deleted")
            changes.created.append(name)
            return
        if before is None:
            wanted = _labelled(bundle, item.obj)
            obj = apply.apply(self._table, item.kind, {}, wanted, by, self._now(), force=True)
            await self._objects.create(
                item.kind.resource, obj, dry_run=dry_run, coming=coming if dry_run else ()
            )
            changes.created.append(name)
            return

        def change(current: Object) -> Object:
            wanted = _labelled(bundle, item.obj)
            return apply.apply(self._table, item.kind, current, wanted, by, self._now(), force=True)

        after = await self._objects.update(*item.key, change, dry_run=dry_run)
        same = after.raw == before.raw if dry_run else after.version == before.version
        (changes.unchanged if same else changes.configured).append(name)

    async def _prune(
        self, bundle: str, keep: Collection[Key], changes: Changes, *, dry_run: bool = False
    ) -> None:
        gone = [
            (kind, stored)
            for kind, stored in self.held(bundle)
            if (kind.resource, *stored.key) not in keep
        ]
        leaving = {(kind.resource, *stored.key) for kind, stored in gone}
        for kind, stored in sorted(gone, key=lambda each: -bundle_order.rank(each[0])):
            name = _told(kind, (kind.resource, *stored.key))
            obj = stored.decode()
            shared = _is_shared(bundle, obj) or (
                kind is kinds.NAMESPACE and self._is_inhabited(stored.name, leaving)
            )
            (changes.kept if shared else changes.pruned).append(name)
            if dry_run:
                continue
            try:
                if shared:
                    await self._let_go(bundle, kind, stored)
                else:
                    options = {
                        "propagationPolicy": "Background",
                        "preconditions": {"uid": obj["metadata"]["uid"]},
                    }
                    await self._objects.delete(kind.resource, *stored.key, options)
            except errors.StatusError as error:
                if error.code != 404:
                    changes.failed.append(f"{name}: {error.message}")

    def _is_inhabited(self, namespace: str, leaving: Collection[Key]) -> bool:
        """Whether somebody else's objects would go with the namespace."""
        for kind in self._objects.registry:
            if not kind.namespaced or kind.volatile:
                continue
            for stored in self._objects.list(kind.resource, namespace).items:
                key = (kind.resource, *stored.key)
                if key in leaving or (kind.resource, stored.name) in _STANDING:
                    continue
                meta = stored.decode()["metadata"]
                if not meta.get("ownerReferences") and not _is_derived(kind, meta):
                    return True
        return False

    async def release(self, bundle: str) -> None:
        """Let everything go that the bundle holds, and leave it where it is."""
        for kind, stored in list(self.held(bundle)):
            await self._let_go(bundle, kind, stored)

    async def _let_go(self, bundle: str, kind: Kind, stored: Stored) -> None:
        """Take back what the bundle has set, and its claim; the object stays."""
        meta = {"name": stored.name} | ({"namespace": stored.namespace} if kind.namespaced else {})
        bare = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}

        def change(current: Object) -> Object:
            entries = current["metadata"].get("managedFields") or []
            mine = bundles.manager(bundle)
            if _is_shared(bundle, current):
                return apply.apply(self._table, kind, current, bare, mine, self._now(), force=True)
            # Nobody else has applied anything: taking the fields back would leave a shell.
            left = [entry for entry in entries if entry.get("manager") != mine]
            return {**current, "metadata": {**current["metadata"], "managedFields": left}}

        await self._objects.update(kind.resource, *stored.key, change)

    def _now(self) -> str:
        return clocks.rfc3339(self._clock.now())


def _labelled(bundle: str, obj: Object) -> Object:
    """A copy, since what is stored is completed in place. Without its label an object of which only
    the name is said would be nobody's: managedFields tell of fields."""
    found = copy.deepcopy(obj)
    labels = found["metadata"].get("labels") or {}
    found["metadata"]["labels"] = {**labels, bundles.LABEL: bundle}
    return found


def _is_shared(bundle: str, obj: Object) -> bool:
    """Whether somebody else has applied something to it."""
    mine = bundles.manager(bundle)
    return any(
        entry.get("operation") == "Apply" and entry.get("manager") != mine
        for entry in obj["metadata"].get("managedFields") or ()
    )


def _is_derived(kind: Kind, meta: Object) -> bool:
    """Made by the device from other objects, which may be leaving."""
    return kind in (kinds.ENDPOINTS, kinds.ENDPOINT_SLICE) and not meta.get("managedFields")


def _told(kind: Kind, key: Key) -> str:
    _, namespace, name = key
    return f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"


def _causes(item: Item, error: errors.StatusError) -> list[errors.Cause]:
    found = [
        errors.Cause(cause["reason"], f"{item.place} {cause['field']}", cause["message"])
        for cause in error.details.get("causes") or ()
    ]
    return found or [errors.Cause(f"FieldValue{error.reason}", item.place, error.message)]
