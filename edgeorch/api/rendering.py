"""Objects in the shape that the client asked for: as they are, as metadata only, as table rows.

Bytes of the store are passed on untouched wherever the shape allows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeorch.api import negotiation
from edgeorch.lib import json
from edgeorch.model import errors, tables

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from edgeorch.api.call import Call
    from edgeorch.api.negotiation import Format
    from edgeorch.model.kinds import Kind, Object
    from edgeorch.store.stored import Stored

_BREATHE = 100
"""Rows that are computed at one go before others get their turn."""
_INCLUDE = ("None", "Metadata", "Object")


def included(call: Call) -> str:
    """What a table row carries beside its cells. Raises StatusError."""
    include = call.query.get("includeObject", "") or "Metadata"
    if include not in _INCLUDE:
        raise errors.bad_request(
            f'unrecognized includeObject value: "{include}"; must be one of: {", ".join(_INCLUDE)}'
        )
    return include


def partial(obj: Object, version: str) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def one(kind: Kind, raw: bytes, shape: Format, include: str, now: datetime.datetime) -> bytes:
    """One object's JSON in `shape`."""
    match shape.shape:
        case negotiation.TABLE:
            obj = json.decode(raw)
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            rows = [_row(kind, raw, shape, include, now)]
            return b"".join(_table(kind, shape, meta, rows))
        case negotiation.METADATA:
            return json.encode(partial(json.decode(raw), shape.version))
        case _:
            return raw


def bookmark(kind: Kind, version: int, shape: Format, annotations: dict[str, str]) -> bytes:
    """The object of a BOOKMARK event."""
    meta: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    match shape.shape:
        case negotiation.TABLE:
            return b"".join(_table(kind, shape, meta, []))
        case negotiation.METADATA:
            return json.encode(partial({"metadata": meta}, shape.version))
        case _:
            body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
            return json.encode(body)


async def many(
    kind: Kind,
    items: Iterable[Stored],
    meta: Object,
    shape: Format,
    include: str,
    now: datetime.datetime,
) -> list[bytes]:
    """A list's JSON as parts to be sent one after the other."""
    match shape.shape:
        case negotiation.TABLE:
            rows = []
            for number, stored in enumerate(items, 1):
                rows.append(_row(kind, stored.raw, shape, include, now))
                if not number % _BREATHE:
                    await asyncio.sleep(0)
            return _table(kind, shape, meta, rows)
        case negotiation.METADATA:
            partials = [json.encode(partial(stored.decode(), shape.version)) for stored in items]
            head = ("PartialObjectMetadataList", f"meta.k8s.io/{shape.version}")
            return _list(*head, meta, partials)
        case _:
            raws = [stored.raw for stored in items]
            return _list(f"{kind.kind}List", kind.api_version, meta, raws)


def _list(kind: str, api_version: str, meta: Object, items: list[bytes]) -> list[bytes]:
    head = json.encode({"kind": kind, "apiVersion": api_version, "metadata": meta})
    return [head[:-1], b',"items":[', *_commas(items), b"]}\n"]


def _table(kind: Kind, shape: Format, meta: Object, rows: list[bytes]) -> list[bytes]:
    head = json.encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{shape.version}",
            "metadata": meta,
            "columnDefinitions": tables.columns(kind),
        }
    )
    return [head[:-1], b',"rows":[', *_commas(rows), b"]}\n"]


def _commas(items: list[bytes]) -> Iterable[bytes]:
    for index, item in enumerate(items):
        if index:
            yield b","
        yield item


def _row(kind: Kind, raw: bytes, shape: Format, include: str, now: datetime.datetime) -> bytes:
    obj = json.decode(raw)
    cells = json.encode(tables.row(kind, obj, now))
    match include:
        case "None":
            carried = b"null"
        case "Object":
            carried = raw
        case _:
            carried = json.encode(partial(obj, shape.version))
    if conditions := tables.conditions(kind, obj):
        told = json.encode(conditions)
        return b'{"cells":%b,"conditions":%b,"object":%b}' % (cells, told, carried)
    return b'{"cells":%b,"object":%b}' % (cells, carried)
