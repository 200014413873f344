"""Reading: one object, a list, a page of a list.

A page is cut from the state at the version of its first page, which is computed back from the
present by undoing what the store still remembers; once it no longer does, the token has expired
(410) and the client lists again, as with Kubernetes.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.api import negotiation, options, rendering, responses, selection, statuses
from edgeorch.lib import json
from edgeorch.model import errors
from edgeorch.store import watch

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored


async def get(
    call: Call, objects: Objects, target: Target, now: datetime.datetime
) -> web.StreamResponse:
    shape = negotiation.choose(call.header("Accept"))
    version = call.query.get("resourceVersion", "")
    include = rendering.included(call)
    _not_from_the_future(objects, options.resource_version(version))
    stored = objects.get(target.kind.resource, *target.key)
    body = rendering.one(target.kind, stored.raw, shape, include, now)
    return await responses.raw(call, body, media=shape.media)


async def listing(
    call: Call, objects: Objects, target: Target, now: datetime.datetime
) -> web.StreamResponse:
    shape = negotiation.choose(call.header("Accept"))
    include = rendering.included(call)
    asked = options.listing(call, watch=False)
    chosen = selection.Selection(target, asked)
    page = select(objects, target, asked, chosen)
    body = await rendering.many(target.kind, page.items, page.meta, shape, include, now)
    if shape.media == negotiation.YAML or call.pretty:
        return await responses.raw(call, b"".join(body), media=shape.media)
    return await responses.parts(call, body)


class Page(Struct, frozen=True):
    items: list[Stored]
    meta: Object


def select(
    objects: Objects,
    target: Target,
    asked: options.ListOptions,
    chosen: selection.Selection,
) -> Page:
    """Raises StatusError (400, 410, 504)."""
    after: tuple[str, str] | None = None
    version = None
    if asked.start:
        if asked.version:
            raise errors.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        version, after = _read_token(asked.start)
    elif asked.match == options.EXACT:
        version = asked.version
    else:
        _not_from_the_future(objects, asked.version)
    items, version = _state(objects, target, version)
    if after is not None:
        items = [stored for stored in items if stored.key > after]
    if not chosen.is_all:
        items = [stored for stored in items if chosen.matches(stored)]
    meta: Object = {"resourceVersion": str(version)}
    if asked.limit and len(items) > asked.limit:
        meta["continue"] = _token(version, items[asked.limit - 1].key)
        if chosen.is_all:
            meta["remainingItemCount"] = len(items) - asked.limit
        items = items[: asked.limit]
    return Page(items, meta)


def _state(objects: Objects, target: Target, version: int | None) -> tuple[list[Stored], int]:
    """All of the target as it was at `version`, or is now."""
    resource = target.kind.resource
    snapshot = objects.list(resource, target.namespace)
    if version is None or version == snapshot.version:
        return snapshot.items, snapshot.version
    try:
        events = objects.history(resource, version)
    except watch.Expired as error:
        raise errors.expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "You must start a new list without the continue parameter."
            if version < snapshot.version
            else str(error)
        ) from error
    held = {stored.key: stored for stored in snapshot.items}
    for event in reversed(events):
        if target.namespace is not None and event.stored.namespace != target.namespace:
            continue
        if event.previous is None:
            held.pop(event.stored.key, None)
        else:
            held[event.stored.key] = event.previous
    return [held[key] for key in sorted(held)], version


def _not_from_the_future(objects: Objects, version: int | None) -> None:
    if version is not None and version > objects.version:
        raise statuses.version_too_large(version, objects.version)


def _token(version: int, key: tuple[str, str]) -> str:
    body = json.encode([version, *key])
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def _read_token(text: str) -> tuple[int, tuple[str, str]]:
    try:
        body = base64.urlsafe_b64decode(text.encode("ascii") + b"===")
        version, namespace, name = json.convert(json.decode(body), tuple[int, str, str])
    except (UnicodeEncodeError, binascii.Error, json.DecodeError, json.ValidationError) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error
    return version, (namespace, name)
