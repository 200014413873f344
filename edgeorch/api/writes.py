"""Writing: create, replace, patch.

A request becomes one change function on the latest state of the object; the store runs it, so that
two writers never overwrite each other unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import bodies, negotiation, options, patches, rendering, responses, statuses
from edgeorch.model import errors

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api import authorization
    from edgeorch.api import books as bookkeeping
    from edgeorch.api.call import Call
    from edgeorch.api.negotiation import Format
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

_VERSION_ON_CREATE = "resourceVersion should not be set on objects to be created"


class Writes:
    def __init__(
        self,
        objects: Objects,
        table: schema.Schema,
        books: bookkeeping.Books,
        authorizer: authorization.Authorizer,
    ) -> None:
        self._objects = objects
        self._table = table
        self._books = books
        self._authorizer = authorizer

    async def create(
        self, call: Call, target: Target, now: datetime.datetime
    ) -> web.StreamResponse:
        if target.kind.namespaced and target.namespace is None:
            raise statuses.method_not_allowed()
        answer = _Answer(call, target, now)
        asked = options.writing(call)
        obj, duplicates = await bodies.decode(call, self._table, target.kind.kind)
        obj = bodies.conform(call, self._table, target.kind, obj, duplicates, asked.validation)
        bodies.check_place(target.namespace, "", obj)
        if obj["metadata"].get("resourceVersion"):
            raise errors.bad_request(_VERSION_ON_CREATE)
        bodies.tell_ignored(call, target.kind, obj)
        obj = self._books.created(call, target.kind, obj)
        self._authorizer.check_grant(call, target.kind, obj, None)
        call.named = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
        stored = await self._objects.create(target.kind.resource, obj, dry_run=asked.dry_run)
        call.named = stored.name
        return await answer.send(stored, 201)

    async def update(
        self, call: Call, target: Target, now: datetime.datetime
    ) -> web.StreamResponse:
        """Replaces the object, or the part of it that the subresource stands for."""
        answer = _Answer(call, target, now)
        asked = options.writing(call)
        obj, duplicates = await bodies.decode(call, self._table, target.kind.kind)
        obj = bodies.conform(call, self._table, target.kind, obj, duplicates, asked.validation)
        bodies.check_place(target.namespace, target.name, obj)
        if not target.subresource:
            bodies.tell_ignored(call, target.kind, obj)
        return await self._put(call, target, answer, obj, asked)

    async def _put(
        self, call: Call, target: Target, answer: _Answer, obj: Object, asked: options.WriteOptions
    ) -> web.StreamResponse:
        """Kinds that anybody may name are made by a PUT when they are not there yet."""
        resource = target.kind.resource

        def change(current: Object) -> Object:
            self._authorizer.check_grant(call, target.kind, obj, current)
            return self._books.changed(call, target.kind, current, obj, target.subresource)

        makes = target.kind.created_by_update and not target.subresource
        if makes and self._objects.find(resource, *target.key) is None:
            self._authorizer.check_creation(call)
            self._authorizer.check_grant(call, target.kind, obj, None)
            obj = self._books.created(call, target.kind, obj)
            stored = await self._objects.create(resource, obj, dry_run=asked.dry_run)
            return await answer.send(stored, 201)
        stored = await self._objects.update(
            resource,
            *target.key,
            change,
            subresource=target.subresource,
            dry_run=asked.dry_run,
        )
        return await answer.send(stored, 200)

    async def patch(self, call: Call, target: Target, now: datetime.datetime) -> web.StreamResponse:
        if patches.is_apply(call):
            return await self._apply(call, target, now)
        answer = _Answer(call, target, now)
        asked = options.writing(call)
        patch = await patches.read(call, self._table, target.kind)

        def change(current: Object) -> Object:
            changed, findings = patch.applied(current)
            if findings and asked.validation == options.STRICT:
                raise patch.refused(findings)
            bodies.check_place(target.namespace, target.name, changed)
            bodies.tell(call, findings, asked.validation)
            self._authorizer.check_grant(call, target.kind, changed, current)
            if not target.subresource:
                bodies.tell_ignored(call, target.kind, changed, current)
            return self._books.changed(call, target.kind, current, changed, target.subresource)

        stored = await self._objects.update(
            target.kind.resource,
            *target.key,
            change,
            subresource=target.subresource,
            dry_run=asked.dry_run,
        )
        return await answer.send(stored, 200)

    async def _apply(
        self, call: Call, target: Target, now: datetime.datetime
    ) -> web.StreamResponse:
        """Server-side apply: changes the object, or makes it."""
        answer = _Answer(call, target, now)
        asked = options.writing(call, applying=True)
        config = await patches.read_config(call, self._table, target.kind)
        config.setdefault("metadata", {}).setdefault("name", target.name)
        bodies.check_place(target.namespace, target.name, config)
        resource, by = target.kind.resource, call.query["fieldManager"]

        def change(current: Object) -> Object:
            changed = self._books.applied(
                target.kind,
                current,
                config,
                by,
                force=asked.force,
                subresource=target.subresource,
            )
            self._authorizer.check_grant(call, target.kind, changed, current)
            if not target.subresource:
                bodies.tell_ignored(call, target.kind, changed, current)
            return changed

        async def changed() -> web.StreamResponse:
            stored = await self._objects.update(
                resource,
                *target.key,
                change,
                subresource=target.subresource,
                dry_run=asked.dry_run,
            )
            return await answer.send(stored, 200)

        if target.subresource or self._objects.find(resource, *target.key) is not None:
            return await changed()
        if uid := config["metadata"].get("uid"):
            why = (
                f"uid mismatch: the provided object specified uid {uid}, "
                "and no existing object was found"
            )
            raise errors.conflict(resource, target.name, why)
        self._authorizer.check_creation(call)
        obj = self._books.applied(target.kind, {}, config, by)
        self._authorizer.check_grant(call, target.kind, obj, None)
        bodies.tell_ignored(call, target.kind, obj)
        try:
            stored = await self._objects.create(resource, obj, dry_run=asked.dry_run)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            return await changed()  # somebody else has made it meanwhile
        return await answer.send(stored, 201)


class _Answer:
    """How the written object is shown; settled before anything is written."""

    def __init__(self, call: Call, target: Target, now: datetime.datetime) -> None:
        self._call = call
        self._target = target
        self._shape: Format = negotiation.choose(call.header("Accept"))
        self._include = rendering.included(call)
        self._now = now

    async def send(self, stored: Stored, code: int) -> web.StreamResponse:
        body = rendering.one(self._target.kind, stored.raw, self._shape, self._include, self._now)
        return await responses.raw(self._call, body, code=code, media=self._shape.media)
