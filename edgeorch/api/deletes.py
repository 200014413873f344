"""Deleting: one object, or all of a collection that are selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import (
    bodies,
    lists,
    negotiation,
    options,
    rendering,
    responses,
    selection,
    statuses,
)
from edgeorch.lib import json
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored


# Kinds of which a client gets the object as it last was, where others get a Status: as the
# published OpenAPI types the answers, which generated clients decode by.
_SHOWN_WHEN_GONE = frozenset(
    kind.resource
    for kind in (
        kinds.POD, kinds.POD_TEMPLATE, kinds.SERVICE, kinds.SERVICE_ACCOUNT, kinds.RESOURCE_QUOTA,
        kinds.PERSISTENT_VOLUME, kinds.PERSISTENT_VOLUME_CLAIM, kinds.STORAGE_CLASS,
        kinds.CSI_DRIVER, kinds.CSI_NODE,
    )
)  # fmt: skip


class Deletes:
    def __init__(self, objects: Objects, table: schema.Schema) -> None:
        self._objects = objects
        self._table = table

    async def one(self, call: Call, target: Target, now: datetime.datetime) -> web.StreamResponse:
        """The object while it is on its way out; when it is gone a Status, or the object too."""
        shape = negotiation.choose(call.header("Accept"))
        include = rendering.included(call)
        asked, dry_run = options.deletion(call, await bodies.optional(call, self._table))
        only_if_cascading = asked.pop("orphanDependents", None) is False
        deletion = await self._objects.delete(
            target.kind.resource, *target.key, asked, dry_run=dry_run
        )
        if deletion.gone and target.kind.resource not in _SHOWN_WHEN_GONE:
            return await responses.obj(call, _gone(target, deletion.stored), media=shape.media)
        body = rendering.one(target.kind, deletion.stored.raw, shape, include, now)
        code = 202 if only_if_cascading else 200
        return await responses.raw(call, body, code=code, media=shape.media)

    async def collection(
        self, call: Call, target: Target, now: datetime.datetime
    ) -> web.StreamResponse:
        """The deleted objects as a list."""
        if target.kind.namespaced and target.namespace is None:
            raise statuses.method_not_allowed()
        shape = negotiation.choose(call.header("Accept"))
        include = rendering.included(call)
        body = await bodies.optional(call, self._table)
        asked = options.listing(call, watch=False)
        chosen = selection.Selection(target, asked)
        page = lists.select(self._objects, target, asked, chosen)
        for stored in page.items:
            wanted, dry_run = options.deletion(call, body)
            wanted.pop("orphanDependents", None)
            try:
                await self._objects.delete(
                    target.kind.resource, *stored.key, wanted, dry_run=dry_run
                )
            except errors.StatusError as error:
                # Somebody else was quicker: what is gone is as wanted.
                if error.code != 404:
                    raise
        parts = await rendering.many(target.kind, page.items, page.meta, shape, include, now)
        if shape.media == negotiation.YAML:
            return await responses.raw(call, b"".join(parts), media=shape.media)
        return await responses.parts(call, parts)


def _gone(target: Target, stored: Stored) -> Object:
    kind = target.kind
    uid = json.decode(stored.raw)["metadata"].get("uid", "")
    details = {"name": target.name, "group": kind.group, "kind": kind.plural, "uid": uid}
    return statuses.success(200, {name: value for name, value in details.items() if value})
