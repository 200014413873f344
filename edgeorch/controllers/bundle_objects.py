"""The objects of bundles: tried, applied and pruned.

Everything is applied under the bundle's own field manager (server-side apply, KEP-555), by force:
the fleet's word counts on its device. An object belongs to a bundle as long as that manager holds
fields of it, its label (`edgeorch.io/bundle`) at least. What another bundle holds is never touched,
and what others have applied something to is let go instead of deleted. What data would go with is
taken away only when nothing can lead back to it any more.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import logging
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from edgeorch.core import (
    bundle_conflicts,
    bundle_order,
    local_path,
    namespaces,
    priorities,
    roles,
    service_accounts,
)
from edgeorch.lib import clock as clocks
from edgeorch.lib import json
from edgeorch.model import apply, bundles, errors, kinds, priority_classes, schema
from edgeorch.model.bundles import Changes, Item
from edgeorch.model.kinds import Kind, Object
from edgeorch.store.objects import Objects
from edgeorch.store.stored import Stored

log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Resource, namespace, name."""
# What every namespace has of itself.
_STANDING = {("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")}
_OF_THE_DEVICE = {
    (kinds.CONFIG_MAP.resource, None, service_accounts.ROOT_CA),
    (kinds.SERVICE_ACCOUNT.resource, None, service_accounts.DEFAULT),
    (kinds.SERVICE.resource, "default", "kubernetes"),
    (kinds.SERVICE.resource, "kube-system", "kube-dns"),
    (kinds.STORAGE_CLASS.resource, "", local_path.CLASS),
    *((kinds.NAMESPACE.resource, "", name) for name in namespaces.BUILT_IN),
    *((kinds.PRIORITY_CLASS.resource, "", name) for name in priority_classes.SYSTEM),
}
"""What it has of itself, and pods and users count on; namespace None: in every one."""
_WITH_DATA = (kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME, kinds.NAMESPACE)
"""What cannot be made again as it was."""
_REMADE = (kinds.CONFIG_MAP, kinds.SECRET, kinds.JOB)
"""What may be frozen, and holds nothing but what the manifests say."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_AT_ONCE = 100
"""Objects that are written side by side: they share the medium's transactions."""


class _Did(Struct, frozen=True):
    """What became of an object: the field of Changes that names it, and what stands there."""

    what: str
    name: str

    def append_to(self, changes: Changes) -> None:
        getattr(changes, self.what).append(self.name)


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
        self, bundle: str, items: Sequence[Item], *, spare_data: bool = False
    ) -> tuple[Changes, list[errors.Cause]]:
        """What `apply` would do, and every reason why it could not."""
        changes = Changes()
        causes = [
            errors.Cause("FieldValueDuplicate", each.place, each.told)
            for each in bundle_conflicts.conflicts(items)
        ]
        freed = {what for _, stored, claims in self._in_the_way(bundle, items) for what in claims}
        coming = {item.key for item in items if self._objects.find(*item.key) is None}
        for item in bundle_order.ordered(items):
            unchecked = self._unchecked(item, coming)
            tried = bundle_conflicts.without(item, freed) if freed else item
            try:
                did = await self._one(bundle, tried, coming=unchecked, dry_run=True)
            except errors.StatusError as error:
                causes += _causes(item, error)
            else:
                did.append_to(changes)
        keep = {item.key for item in items}
        await self._prune(bundle, keep, changes, spare_data=spare_data, dry_run=True)
        return changes, causes

    def _in_the_way(
        self, bundle: str, items: Sequence[Item]
    ) -> Iterator[tuple[Kind, Stored, set[str]]]:
        """What the bundle has no more, but still holds something that one of `items` asks for:
        a Service that is given another name keeps its node port."""
        wanted = {claim.what for item in items for claim in bundle_conflicts.claims(item)}
        keep = {item.key for item in items}
        for kind in bundle_conflicts.CLAIMING if wanted else ():
            for stored in self._objects.list(kind.resource).items:
                obj = stored.decode()
                is_ours = bundle in bundles.managers_in(obj) and not _is_shared(bundle, obj)
                if not is_ours or (kind.resource, *stored.key) in keep:
                    continue
                claims = {claim.what for claim in bundle_conflicts.claims(Item(kind, obj, ""))}
                if claims & wanted:
                    yield kind, stored, claims & wanted

    def _unchecked(self, item: Item, coming: Collection[Key]) -> list[str]:
        """The object's namespace, when something that its admission asks for comes with it."""
        namespace = item.key[1]
        home = kinds.NAMESPACE.resource, "", namespace
        if home in coming:
            return [namespace]
        if item.kind is not kinds.POD or self._objects.find(*home) is None:
            return []
        spec = item.obj.get("spec") or {}
        asked = (
            (kinds.SERVICE_ACCOUNT.resource, namespace, service_accounts.name_of(item.obj)),
            (kinds.PRIORITY_CLASS.resource, "", priorities.name_of(item.obj)),
            (kinds.RUNTIME_CLASS.resource, "", spec.get("runtimeClassName")),
        )
        return [namespace] if any(each in coming for each in asked) else []

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

    async def apply(
        self,
        bundle: str,
        items: Sequence[Item],
        *,
        spare_data: bool = False,
        going_back: bool = False,
    ) -> Changes:
        """Go as far as it goes; what could not be done is in `failed`.

        `spare_data`: claims, volumes and namespaces that are not wanted any more stay for now.
        `going_back`: what cannot be changed to what it was is made anew.
        """
        changes = Changes()
        for kind, stored, _ in self._in_the_way(bundle, items):
            did = await self._taken_away(bundle, kind, stored, (), spare_data, dry_run=False)
            did.append_to(changes)
        await self._write(bundle, items, changes, going_back=going_back)
        if not changes.failed:
            keep = {item.key for item in items}
            await self._prune(bundle, keep, changes, spare_data=spare_data)
        return changes

    async def restore(self, bundle: str, items: Sequence[Item]) -> Changes:
        """Some objects of a version that is on the device."""
        changes = Changes()
        await self._write(bundle, items, changes)
        return changes

    async def _write(
        self, bundle: str, items: Sequence[Item], changes: Changes, *, going_back: bool = False
    ) -> None:
        for group in _groups(items):
            done = await asyncio.gather(
                *(self._tried(bundle, item, going_back=going_back) for item in group)
            )
            for did in done:
                did.append_to(changes)

    async def prune(self, bundle: str, keep: Collection[Key] = ()) -> Changes:
        """Take away what the bundle holds besides `keep`."""
        changes = Changes()
        await self._prune(bundle, keep, changes)
        return changes

    async def _tried(self, bundle: str, item: Item, *, going_back: bool) -> _Did:
        name = _told(item.kind, item.key)
        try:
            return await self._one(bundle, item)
        except errors.StatusError as error:
            if not going_back or error.code != 422:
                return _Did("failed", f"{name}: {error.message}")
        if item.kind is kinds.PERSISTENT_VOLUME_CLAIM:
            return _Did("unchanged", name)  # a claim that has grown stays as big
        try:
            return await self._made_anew(bundle, item)
        except errors.StatusError as error:
            return _Did("failed", f"{name}: {error.message}")

    async def _made_anew(self, bundle: str, item: Item) -> _Did:
        """Raises StatusError."""
        stored = self._objects.find(*item.key)
        if stored is not None and item.kind in _REMADE:
            options = {"propagationPolicy": "Background"}
            await self._objects.delete(*item.key, options)
        did = await self._one(bundle, item)
        return did if stored is None else _Did("configured", did.name)

    async def _one(
        self, bundle: str, item: Item, *, coming: Collection[str] = (), dry_run: bool = False
    ) -> _Did:
        """Raises StatusError."""
        self._refuse_foreign(bundle, item)
        by = bundles.manager(bundle)
        before = self._objects.find(*item.key)
        name = _told(item.kind, item.key)
        if before is not None and before.decode()["metadata"].get("deletionTimestamp"):
            if not dry_run:
                raise errors.conflict(item.kind.resource, before.name, "it is being deleted")
            return _Did("created", name)
        if before is None:
            wanted = _labelled(bundle, item.obj)
            obj = apply.apply(self._table, item.kind, {}, wanted, by, self._now(), force=True)
            try:
                await self._objects.create(
                    item.kind.resource, obj, dry_run=dry_run, coming=coming if dry_run else ()
                )
            except errors.StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                # Made meanwhile: a namespace gets its service account and certificate.
                return await self._one(bundle, item, coming=coming, dry_run=dry_run)
            return _Did("created", name)

        def change(current: Object) -> Object:
            wanted = _labelled(bundle, item.obj)
            return apply.apply(self._table, item.kind, current, wanted, by, self._now(), force=True)

        after = await self._objects.update(*item.key, change, dry_run=dry_run)
        same = after.raw == before.raw if dry_run else after.version == before.version
        return _Did("unchanged" if same else "configured", name)

    async def _prune(
        self,
        bundle: str,
        keep: Collection[Key],
        changes: Changes,
        *,
        spare_data: bool = False,
        dry_run: bool = False,
    ) -> None:
        gone = [
            (kind, stored)
            for kind, stored in self.held(bundle)
            if (kind.resource, *stored.key) not in keep
        ]
        leaving = {(kind.resource, *stored.key) for kind, stored in gone}
        gone.sort(key=lambda each: -bundle_order.rank(each[0]))
        for _, group in itertools.groupby(gone, key=lambda each: bundle_order.rank(each[0])):
            done = await asyncio.gather(
                *(
                    self._taken_away(bundle, kind, stored, leaving, spare_data, dry_run)
                    for kind, stored in group
                )
            )
            for did in done:
                did.append_to(changes)

    async def _taken_away(
        self,
        bundle: str,
        kind: Kind,
        stored: Stored,
        leaving: Collection[Key],
        spare_data: bool,
        dry_run: bool,
    ) -> _Did:
        name = _told(kind, (kind.resource, *stored.key))
        obj = stored.decode()
        shared = (
            _is_shared(bundle, obj)
            or _is_of_the_device(kind, stored, obj)
            or (kind is kinds.NAMESPACE and self._is_inhabited(stored.name, leaving))
        )
        if not shared and spare_data and kind in _WITH_DATA:
            return _Did("leaving", name)
        did = _Did("kept" if shared else "pruned", name)
        if dry_run:
            return did
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
                return _Did("failed", f"{name}: {error.message}")
        return did

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
            if _is_applied(bundle, current):
                return apply.apply(self._table, kind, current, bare, mine, self._now(), force=True)
            # Nobody else has applied anything: taking the fields back would leave a shell.
            left = [entry for entry in entries if entry.get("manager") != mine]
            labels = {**(current["metadata"].get("labels") or {})}
            labels.pop(bundles.LABEL, None)
            meta = {**current["metadata"], "managedFields": left, "labels": labels}
            for name in ("managedFields", "labels"):
                if not meta[name]:
                    del meta[name]
            return {**current, "metadata": meta}

        await self._objects.update(kind.resource, *stored.key, change)

    def _now(self) -> str:
        return clocks.rfc3339(self._clock.now())


def _groups(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    """In order; what does not wait for each other together."""
    ordered = bundle_order.ordered(items)
    for _, same in itertools.groupby(ordered, key=lambda item: bundle_order.rank(item.kind)):
        while group := tuple(itertools.islice(same, _AT_ONCE)):
            yield group


def _labelled(bundle: str, obj: Object) -> Object:
    """A copy, since what is stored is completed in place. Without its label an object of which only
    the name is said would be nobody's: managedFields tell of fields."""
    found = copy.deepcopy(obj)
    labels = found["metadata"].get("labels") or {}
    found["metadata"]["labels"] = {**labels, bundles.LABEL: bundle}
    texts = found.pop("stringData", None)
    if isinstance(texts, dict):  # of a Secret: nobody owns it, so that what is dropped would stay
        packed = {k: base64.b64encode(str(v).encode()).decode() for k, v in texts.items()}
        found["data"] = {**(found.get("data") or {}), **packed}
    return found


def _is_shared(bundle: str, obj: Object) -> bool:
    """Whether somebody else has applied something to it, on the server or with a client that keeps
    books of its own (`kubectl apply`)."""
    return _is_applied(bundle, obj) or any(
        f"f:{_LAST_APPLIED}" in _annotations(entry) for entry in _of_others(bundle, obj)
    )


def _is_applied(bundle: str, obj: Object) -> bool:
    return any(entry.get("operation") == "Apply" for entry in _of_others(bundle, obj))


def _of_others(bundle: str, obj: Object) -> Iterator[Object]:
    mine = bundles.manager(bundle)
    for entry in obj["metadata"].get("managedFields") or ():
        if entry.get("manager") != mine:
            yield entry


def _annotations(entry: Object) -> Object:
    metadata = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    found: Object = metadata.get("f:annotations") or {}
    return found


def _is_of_the_device(kind: Kind, stored: Stored, obj: Object) -> bool:
    labels = obj["metadata"].get("labels") or {}
    if roles.BOOTSTRAPPING.items() <= labels.items():
        return True
    of_any_namespace = (kind.resource, None, stored.name)
    return bool({(kind.resource, *stored.key), of_any_namespace} & _OF_THE_DEVICE)


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
