"""metrics.k8s.io/v1beta1: what nodes and pods use, measured when it is asked for.

Source: https://github.com/kubernetes/metrics (pkg/apis/metrics/v1beta1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import lists, negotiation, options, paths, responses, selection
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api import ports
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored


async def serve(
    call: Call,
    objects: Objects,
    target: Target,
    meter: ports.Meter | None,
    now: datetime.datetime,
) -> web.StreamResponse:
    """Raises StatusError (404, 503)."""
    if meter is None:
        raise errors.unavailable("this server runs no containers")
    shape = negotiation.choose(call.header("Accept"), shapes=False)
    of = kinds.NODE if target.kind is kinds.NODE_METRICS else kinds.POD
    subject = paths.Target(of, target.namespace, target.name, "")
    if target.name:
        chosen = [objects.get(of.resource, *target.key)]
    else:
        asked = options.listing(call, watch=False)
        chosen = lists.select(objects, subject, asked, selection.Selection(subject, asked)).items
    measured = await _measured(chosen, target, meter, now)
    if not target.name:
        body = {
            "kind": f"{target.kind.kind}List",
            "apiVersion": target.kind.api_version,
            "metadata": {},
            "items": measured,
        }
        return await responses.obj(call, body, media=shape.media)
    if not measured:
        raise errors.not_found(target.kind.resource, "/".join(part for part in target.key if part))
    return await responses.obj(call, measured[0], media=shape.media)


async def _measured(
    chosen: list[Stored], target: Target, meter: ports.Meter, now: datetime.datetime
) -> list[Object]:
    if target.kind is kinds.NODE_METRICS:
        usage = await meter.node()
        if usage is None:
            return []
        return [
            {**_head(target, stored, usage, now), "usage": _amounts(usage)} for stored in chosen
        ]
    usages = await meter.pods({stored.key for stored in chosen})
    found = []
    for stored in chosen:
        containers = usages.get(stored.key)
        if containers:
            first = next(iter(containers.values()))
            listed = [
                {"name": name, "usage": _amounts(usage)} for name, usage in containers.items()
            ]
            found.append({**_head(target, stored, first, now), "containers": listed})
    return found


def _head(target: Target, stored: Stored, usage: ports.Usage, now: datetime.datetime) -> Object:
    labels = stored.decode()["metadata"].get("labels") or {}
    stamp = clocks.rfc3339(now)
    meta: Object = {"name": stored.name, "creationTimestamp": stamp}
    if stored.namespace:
        meta["namespace"] = stored.namespace
    if labels:
        meta["labels"] = labels
    return {
        "kind": target.kind.kind,
        "apiVersion": target.kind.api_version,
        "metadata": meta,
        "timestamp": stamp,
        "window": f"{usage.window:.3f}s",
    }


def _amounts(usage: ports.Usage) -> Object:
    return {"cpu": f"{usage.cpu}n", "memory": f"{usage.memory // 1024}Ki"}
