"""The objects: the only door for api, agent, controllers and proxy alike.

Everything that is true of every write happens here and once: defaults, validation, versions,
uids, generations, preconditions, finalizers, allocation, durability, and telling the watchers.

* Intent is durable: a change of metadata or spec is on the medium before the caller goes on and
  before any watcher hears of it. Observation is not: status (and whatever `durable=False` says) is
  told at once and reaches the disk batched; volatile objects never do. A status that counts what
  leaves no other trace asks for `durable=True`.
* Changes to one object are sequential: `change` functions see the latest state and may not await.
* resourceVersion only grows, also across a power cut: versions are reserved on disk in blocks and
  a start begins with a new block.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import uuid
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from edgeorch.lib import clock as clocks
from edgeorch.lib import json
from edgeorch.model import defaults, errors, kinds, lifecycle, validation
from edgeorch.store import database, schema
from edgeorch.store import watch as watches
from edgeorch.store.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from edgeorch.model.kinds import Kind, Object

    Change = Callable[[Object], Object]

log = logging.getLogger(__name__)

VERSION_BLOCK = 1 << 20
FLUSH_AFTER = 60.0
"""Seconds after which a changed status is written down."""
_MANAGED_BY = {
    "endpointslices.discovery.k8s.io": (
        "endpointslice.kubernetes.io/managed-by",
        "endpointslice-controller.k8s.io",
    ),
    "endpoints": ("endpoints.kubernetes.io/managed-by", "endpoint-controller"),
}


class Allocator(Protocol):
    """Gives an object what only the whole can give: addresses, ports. Called after validation."""

    def admit(self, new: Object, old: Object | None) -> None:
        """Complete `new` in place. Raises StatusError."""

    def settle(self, new: Object | None, old: Object | None) -> None:
        """`old` has become `new` (None: it is gone); give back what is no longer used."""


class Admission(Protocol):
    """Completes or refuses new objects of a resource, whoever writes them (Kubernetes' mutating
    admission). Called after defaults and before validation, in the order of `admit_with`."""

    async def admit(self, new: Object) -> None:
        """Complete `new` in place. May wait a moment for what it needs. Raises StatusError."""


class Snapshot(Struct, frozen=True):
    """A list at one moment, ordered by namespace and name."""

    items: list[Stored]
    version: int


class Deletion(Struct, frozen=True):
    """What became of a delete: the object's last state, and whether it is gone already."""

    stored: Stored
    gone: bool


class Objects:
    def __init__(
        self, db: database.Database, registry: kinds.Registry, clock: clocks.Clock
    ) -> None:
        self.registry = registry
        self._db = db
        self._clock = clock
        self._version = 0
        self._reserved = 0
        self._objects: dict[str, dict[tuple[str, str], Stored]] = {}
        self._history = watches.History(0)
        self._inflight: dict[tuple[str, str, str], asyncio.Future[None]] = {}
        self._dirty: set[tuple[str, str, str]] = set()
        self._dirtied = asyncio.Event()
        self.flush_after = FLUSH_AFTER
        """Seconds that what may wait does so."""
        self._allocators: dict[str, Allocator] = {}
        self._admissions: dict[str, list[Admission]] = {}

    # --- life -----------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything in. Raises StorageError."""
        self._version = await self._db.number(schema.RESERVED) + 1
        await self._reserve()
        self._history = watches.History(self._version)
        for kind in self.registry:
            self._objects[kind.resource] = {}
        for row in await self._db.rows():
            held = self._objects.get(row.resource)
            if held is None:
                log.warning(
                    "%s %s/%s is stored but not served", row.resource, row.namespace, row.name
                )
                continue
            if row.body is not None:
                obj = _read(row, row.body)
                held[row.namespace, row.name] = self._stamp(
                    row.resource, row.namespace, row.name, obj
                )

    async def _reserve(self) -> None:
        self._reserved = self._version + VERSION_BLOCK
        await self._db.set_number(schema.RESERVED, self._reserved)

    async def run(self) -> None:
        """Write down what may wait, for ever; on cancellation, once more."""
        try:
            while True:
                await self._dirtied.wait()
                await asyncio.sleep(self.flush_after)
                await self.write_dirty()
                if self._version > self._reserved - VERSION_BLOCK // 2:
                    with contextlib.suppress(database.StorageError):  # half a block is left
                        await self._reserve()
        finally:
            await self.write_dirty()

    def forget_history(self) -> None:
        """All but the latest minute, and what a watch of now still has to hear of."""
        self._history.forget()

    def grow_old(self) -> None:
        """A minute has passed: history is kept for some."""
        self._history.grow_old()

    async def write_dirty(self) -> None:
        """What the medium refuses stays due."""
        self._dirtied.clear()
        keys, self._dirty = self._dirty, set()
        rows = []
        for key in keys:
            resource, namespace, name = key
            stored = self._objects[resource].get((namespace, name))
            if key in self._inflight:
                self._due([key])  # Its own commit settles it, if it goes well.
            elif stored is not None:
                rows.append(database.Row(*key, _at_rest(stored.decode())))
        if rows:
            written = self._db.submit(rows, lambda: None)
            await self._db.flush()
            if written.exception() is not None:
                self._due((row.resource, row.namespace, row.name) for row in rows)

    def _due(self, keys: Iterable[tuple[str, str, str]]) -> None:
        self._dirty.update(keys)
        self._dirtied.set()

    def allocate_with(self, resource: str, allocator: Allocator) -> None:
        self._allocators[resource] = allocator

    def admit_with(self, resource: str, admission: Admission) -> None:
        self._admissions.setdefault(resource, []).append(admission)

    @property
    def version(self) -> int:
        return self._version

    @property
    def failure(self) -> str | None:
        """Why nothing can be written, None while the medium takes it."""
        return self._db.failure

    # --- reading --------------------------------------------------------------------------------

    def find(self, resource: str, namespace: str, name: str) -> Stored | None:
        return self._objects[resource].get((namespace, name))

    def get(self, resource: str, namespace: str, name: str) -> Stored:
        """Raises StatusError (404)."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def list(self, resource: str, namespace: str | None = None) -> Snapshot:
        """All of a namespace, or of all namespaces."""
        held = self._objects[resource]
        keys = sorted(key for key in held if namespace is None or key[0] == namespace)
        return Snapshot([held[key] for key in keys], self._version)

    def changed_at(self, resource: str) -> int:
        """The version of the latest change of this resource."""
        return self._history.of(resource).version

    @property
    def watched(self) -> int:
        """How many watches there are, also the device's own."""
        return self._history.watched

    def watch(self, resource: str, since: int | None = None) -> watches.Watch:
        """Changes after version `since`, or from now on. Raises watches.Expired."""
        if since is not None and since > self._version:
            raise watches.Expired(f"too large resource version: {since}, current: {self._version}")
        return self._history.of(resource).watch(since)

    def history(self, resource: str, since: int) -> Sequence[watches.Event]:
        """What has happened after version `since`. Raises watches.Expired."""
        if since > self._version:
            raise watches.Expired(f"too large resource version: {since}, current: {self._version}")
        return self._history.of(resource).since(since)

    # --- writing --------------------------------------------------------------------------------

    async def create(
        self, resource: str, obj: Object, *, dry_run: bool = False, coming: Collection[str] = ()
    ) -> Stored:
        """Store a new object. `obj` is taken over. Raises StatusError.

        `coming`, of a dry run: namespaces that will be there when it counts.
        """
        kind = self.registry.resource(resource)
        obj = lifecycle.prepare_create(
            kind,
            obj,
            uid=str(uuid.uuid4()),
            now=clocks.rfc3339(self._clock.now()),
            suffix=_suffix,
        )
        _complete(kind, obj)
        namespace, name = _key(obj)
        if namespace not in coming:
            if kind.namespaced:
                self._check_namespace(kind, namespace, name)
            for admission in self._admissions.get(resource, ()):
                await admission.admit(obj)
        _refuse_invalid(kind, obj, validation.create(kind, obj))
        await self._settled(resource, namespace, name)
        if self.find(resource, namespace, name) is not None:
            raise errors.already_exists(resource, name)
        return await self._write(kind, obj, None, dry_run=dry_run, durable=True)

    async def update(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        durable: bool | None = None,
        fleeting: bool = False,
        dry_run: bool = False,
    ) -> Stored:
        """Replace an object by what `change` makes of a copy of it.

        `durable`: on the medium before it is told; unless said otherwise all but a status is.
        `fleeting`: this change of a status is not worth a write of its own, ever. A
        resourceVersion or uid in the result is a precondition. Without a difference nothing is
        written and nobody is told. Raises StatusError.
        """
        kind = self.registry.resource(resource)
        await self._settled(resource, namespace, name)
        stored = self.get(resource, namespace, name)
        old = stored.decode()
        new = change(stored.decode())
        _check_preconditions(kind, name, new["metadata"], stored, old)
        if subresource != "status":
            # What its author left out is no change, and counts as no new generation.
            _complete(kind, new)
        new = lifecycle.prepare_update(kind, new, old, subresource=subresource)
        if subresource != "status":
            _complete(kind, new)
        if not lifecycle.changed(old, new):
            return stored
        _refuse_invalid(kind, new, validation.update(kind, new, old, subresource))
        if lifecycle.removable(kind, new):
            return await self._write(kind, None, stored, dry_run=dry_run, durable=True)
        if durable is None:
            durable = subresource != "status"
        return await self._write(
            kind, new, stored, dry_run=dry_run, durable=durable, fleeting=fleeting
        )

    async def update_status(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Change,
        *,
        fleeting: bool = False,
    ) -> Stored:
        return await self.update(
            resource, namespace, name, change, subresource="status", fleeting=fleeting
        )

    async def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        options: Object | None = None,
        *,
        dry_run: bool = False,
    ) -> Deletion:
        """Delete, or begin to: grace periods and finalizers are honoured. Raises StatusError."""
        kind = self.registry.resource(resource)
        await self._settled(resource, namespace, name)
        stored = self.get(resource, namespace, name)
        old = stored.decode()
        chosen = lifecycle.DeleteOptions.of(options or {})
        now = clocks.rfc3339(self._clock.now())
        new = lifecycle.prepare_delete(kind, stored.decode(), chosen, now)
        if new is not None and not lifecycle.changed(old, new):
            return Deletion(stored, gone=False)
        written = await self._write(kind, new, stored, dry_run=dry_run, durable=True)
        return Deletion(written, gone=new is None)

    def record(self, resource: str, obj: Object) -> Stored:
        """Put a volatile object at once, without checks: events, which nobody may wait for."""
        kind = self.registry.resource(resource)
        if not kind.volatile:
            raise ValueError(f"{resource} is not volatile")
        namespace, name = _key(obj)
        return self._publish(kind, obj, self.find(resource, namespace, name), (namespace, name))

    def forget(self, resource: str, namespace: str, name: str) -> None:
        """Remove a volatile object at once."""
        kind = self.registry.resource(resource)
        stored = self.find(resource, namespace, name)
        if stored is not None:
            self._publish(kind, None, stored, stored.key)

    # --- beneath --------------------------------------------------------------------------------

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self.find(kinds.NAMESPACE.resource, "", namespace)
        if found is None:
            raise errors.not_found(kinds.NAMESPACE.resource, namespace)
        if '"deletionTimestamp"' in found.raw.decode():
            raise errors.forbidden(
                kind.resource,
                name,
                f"unable to create new content in namespace {namespace} because it is being "
                "terminated",
            )

    async def _settled(self, resource: str, namespace: str, name: str) -> None:
        """Wait until no write of this object is on its way to the medium."""
        while (pending := self._inflight.get((resource, namespace, name))) is not None:
            await asyncio.wait([pending])

    async def _write(
        self,
        kind: Kind,
        new: Object | None,
        old: Stored | None,
        *,
        dry_run: bool,
        durable: bool,
        fleeting: bool = False,
    ) -> Stored:
        """Allocate, make durable where due, then publish."""
        if old is None and durable and not dry_run:
            self._refuse_without_room(kind, new)
        allocator = self._allocators.get(kind.resource)
        before = old.decode() if old is not None and allocator is not None else None
        if allocator is not None and new is not None:
            allocator.admit(new, before)
        namespace, name = old.key if old is not None else _key(new or {})
        if dry_run:
            if allocator is not None and new is not None:
                allocator.settle(before, new)
            shown = new if new is not None else (old.decode() if old else {})
            return Stored(
                kind.resource, namespace, name, old.version if old else 0, json.encode(shown)
            )
        volatile = kind.volatile or _is_derived(kind, new if new is not None else before, old)
        if volatile or not durable:
            stored = self._publish(kind, new, old, (namespace, name))
            if not volatile and not fleeting:
                self._due([(kind.resource, namespace, name)])
            if allocator is not None:
                allocator.settle(new, before)
            return stored
        return await self._commit(kind, new, old, (namespace, name), allocator, before)

    def _refuse_without_room(self, kind: Kind, new: Object | None) -> None:
        """What is not written down needs none."""
        if kind.volatile or _is_derived(kind, new, None):
            return
        if full := self._db.no_room():
            raise errors.insufficient_storage(full)

    async def _commit(
        self,
        kind: Kind,
        new: Object | None,
        old: Stored | None,
        key: tuple[str, str],
        allocator: Allocator | None,
        before: Object | None,
    ) -> Stored:
        row = database.Row(kind.resource, *key, _at_rest(new) if new is not None else None)
        full_key = (kind.resource, *key)
        published: list[Stored] = []

        def committed() -> None:
            published.append(self._publish(kind, new, old, key))
            self._dirty.discard(full_key)
            if allocator is not None:
                allocator.settle(new, before)

        def landed(pending: asyncio.Future[None]) -> None:
            """Also when whoever asked for it has gone."""
            del self._inflight[full_key]
            if allocator is not None and new is not None and pending.exception() is not None:
                allocator.settle(before, new)

        pending = self._db.submit([row], committed)
        self._inflight[full_key] = pending
        pending.add_done_callback(landed)
        try:
            await asyncio.shield(pending)
        except database.StorageError as error:
            refusal = errors.insufficient_storage if error.full else errors.unwritable
            raise refusal(str(error)) from error
        return published[0]

    def _publish(
        self, kind: Kind, new: Object | None, old: Stored | None, key: tuple[str, str]
    ) -> Stored:
        held = self._objects[kind.resource]
        if new is None:
            if old is None:
                raise ValueError("nothing to publish")
            stored = self._stamp(kind.resource, *key, old.decode())
            held.pop(key, None)
            event = watches.Event(watches.DELETED, stored, old)
        else:
            stored = self._stamp(kind.resource, *key, new)
            held[key] = stored
            event = watches.Event(watches.MODIFIED if old else watches.ADDED, stored, old)
        self._history.publish(kind.resource, event)
        return stored

    def _stamp(self, resource: str, namespace: str, name: str, obj: Object) -> Stored:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        return Stored(resource, namespace, name, self._version, json.packed(obj))


def _suffix() -> str:
    letters = lifecycle.SUFFIX_ALPHABET
    return "".join(secrets.choice(letters) for _ in range(lifecycle.SUFFIX_LENGTH))


def _key(obj: Object) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta.get("name", "")


def _complete(kind: Kind, obj: Object) -> None:
    defaults.apply(kind, obj)
    if kind is kinds.POD:
        defaults.admit_pod(obj)


def _refuse_invalid(kind: Kind, obj: Object, causes: list[errors.Cause]) -> None:
    if causes:
        raise errors.invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), causes)


def _check_preconditions(kind: Kind, name: str, asked: Object, stored: Stored, old: Object) -> None:
    uid, version = asked.get("uid"), asked.get("resourceVersion")
    actual = old["metadata"]["uid"]
    if uid and uid != actual:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
        raise errors.conflict(kind.resource, name, why)
    if version and version != str(stored.version):
        raise errors.conflict(kind.resource, name, errors.MODIFIED)


def _is_derived(kind: Kind, obj: Object | None, old: Stored | None) -> bool:
    """Objects that a controller makes anew from others after every start."""
    marker = _MANAGED_BY.get(kind.resource)
    if marker is None:
        return False
    found = obj if obj is not None else (old.decode() if old is not None else {})
    label, value = marker
    return bool((found["metadata"].get("labels") or {}).get(label) == value)


def _read(row: database.Row, body: bytes) -> Object:
    """Raises StorageError. Going on without the object would end what it stands for."""
    try:
        found: Object = json.decode(body)
    except ValueError as error:
        what = f"{row.resource} {row.namespace}/{row.name}"
        raise database.StorageError(f"cannot read {what}: it is damaged: {error}") from error
    return found


def _at_rest(obj: Object) -> bytes:
    """As bytes for the medium, where a version would only age."""
    rest = {**obj, "metadata": {**obj["metadata"]}}
    rest["metadata"].pop("resourceVersion", None)
    return json.encode(rest)
