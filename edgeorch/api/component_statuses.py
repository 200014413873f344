"""v1 ComponentStatus: the checks of /readyz as objects, looked at when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import negotiation, options, rendering, responses, selection
from edgeorch.lib import json
from edgeorch.model import errors
from edgeorch.store import stored

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api import health
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object

_DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


async def serve(
    call: Call, checks: health.Checks, target: Target, now: datetime.datetime
) -> web.StreamResponse:
    """Raises StatusError (404)."""
    call.warn(_DEPRECATED)
    shape = negotiation.choose(call.header("Accept"))
    include = rendering.included(call)
    kind = target.kind
    found = [
        stored.Stored(kind.resource, "", name, 0, json.encode(_status(name, run())))
        for name, run in sorted(checks.of("readyz").items())
    ]
    if target.name:
        raw = next((each.raw for each in found if each.name == target.name), None)
        if raw is None:
            raise errors.not_found(kind.resource, target.name)
        body = rendering.one(kind, raw, shape, include, now)
        return await responses.raw(call, body, media=shape.media)
    chosen = selection.Selection(target, options.listing(call, watch=False))
    listed = (each for each in found if chosen.matches(each))
    parts = await rendering.many(kind, listed, {}, shape, include, now)
    return await responses.raw(call, b"".join(parts), media=shape.media)


def _status(name: str, why: str | None) -> Object:
    healthy = {"type": "Healthy", "status": "False" if why else "True", "message": why or "ok"}
    return {
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": name, "creationTimestamp": None},
        "conditions": [healthy],
    }
