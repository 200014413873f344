"""Bytes on their way out: headers, compression, and bodies that are sent in parts.

Big bodies are written piece by piece from what the store holds, so that a long list is never a
second time in memory; they are compressed only when they are big and the client takes gzip (the
limit is the API server's: 128 KiB, level 1).
"""

from __future__ import annotations

import asyncio
import logging
import types
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from edgeorch.api import negotiation
from edgeorch.lib import json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeorch.api.call import Call
    from edgeorch.model.errors import StatusError
    from edgeorch.model.kinds import Object

log = logging.getLogger(__name__)

GZIP_FROM = 128 * 1024
_STREAM_FROM = 256 * 1024
_PIECE = 64 * 1024
_GZIP_LEVEL = 1
_NOTHING: Mapping[str, str] = types.MappingProxyType({})


def headers(call: Call, media: str) -> CIMultiDict[str]:
    found = CIMultiDict(
        {
            "Content-Type": media,
            "Cache-Control": "no-cache, private",
            "Audit-Id": call.audit_id,
        }
    )
    for warning in call.warning_headers():
        found.add("Warning", warning)
    return found


async def obj(
    call: Call, body: Object, *, code: int = 200, media: str = negotiation.JSON
) -> web.StreamResponse:
    """An object made for this answer."""
    return await raw(call, json.encode(body), code=code, media=media)


async def raw(
    call: Call,
    body: bytes,
    *,
    code: int = 200,
    media: str = negotiation.JSON,
    extra: Mapping[str, str] = _NOTHING,
) -> web.StreamResponse:
    """A JSON object as bytes, in the media type asked for."""
    if media == negotiation.YAML:
        body = await asyncio.to_thread(_yaml, body)
    elif call.pretty:
        body = json.pretty(body) + b"\n"
    return await parts(call, [body], code=code, media=media, extra=extra)


async def parts(
    call: Call,
    body: list[bytes],
    *,
    code: int = 200,
    media: str = negotiation.JSON,
    extra: Mapping[str, str] = _NOTHING,
    zip_from: int = GZIP_FROM,
) -> web.StreamResponse:
    """A body that is the concatenation of `body`; `zip_from`: bytes above which it is zipped."""
    size = sum(map(len, body))
    zipped = size > zip_from and _takes_gzip(call.header("Accept-Encoding"))
    found = headers(call, media)
    found.update(extra)
    if size > zip_from:
        found.add("Vary", "Accept-Encoding")
    if not zipped and size <= _STREAM_FROM:
        return web.Response(status=code, body=b"".join(body), headers=found)
    response = web.StreamResponse(status=code, headers=found)
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    else:
        response.content_length = size
    await response.prepare(call.request)
    for piece in _gzip(_pieces(body)) if zipped else _pieces(body):
        if piece:
            await response.write(piece)
    await response.write_eof()
    return response


async def cached(call: Call, body: bytes, tag: str, media: str) -> web.StreamResponse:
    """A document that clients keep: 304 when they have it already."""
    extra = {"ETag": tag, "Vary": "Accept"}
    if tag in call.header("If-None-Match"):
        found = headers(call, media)
        found.update(extra)
        return web.Response(status=304, headers=found)
    return await raw(call, body, media=media, extra=extra)


async def failure(call: Call, error: StatusError) -> web.StreamResponse:
    """metav1.Status; always JSON when the client takes it, whatever shape it wanted."""
    body = error.status()
    try:
        data = json.encode(body)
    except UnicodeEncodeError:
        # A header or path held bytes that are no text, and the message quotes them.
        body["message"] = error.message.encode(errors="replace").decode()
        data = json.encode(body)
    media = negotiation.JSON
    for clause in negotiation.clauses(call.header("Accept")):
        if clause.media == negotiation.JSON:
            break
        if clause.media == negotiation.YAML:
            media = negotiation.YAML
            break
    response = await raw(call, data, code=error.code, media=media)
    if retry := error.details.get("retryAfterSeconds"):
        response.headers["Retry-After"] = str(retry)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="edgeorch"'
    return response


def text(call: Call, body: str, *, code: int = 200, media: str = "") -> web.Response:
    found = headers(call, media or "text/plain; charset=utf-8")
    found["X-Content-Type-Options"] = "nosniff"
    return web.Response(status=code, body=body.encode(), headers=found)


def _takes_gzip(accept: str) -> bool:
    return any(clause.media in ("gzip", "*") for clause in negotiation.clauses(accept))


def _pieces(body: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about 64 KiB."""
    gathered: list[bytes] = []
    size = 0
    for part in body:
        if len(part) > _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
            view = memoryview(part)
            for start in range(0, len(part), _PIECE):
                yield bytes(view[start : start + _PIECE])
            continue
        gathered.append(part)
        size += len(part)
        if size >= _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _gzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _yaml(body: bytes) -> bytes:
    from edgeorch.lib import yaml  # few ask for it: kubectl makes YAML itself

    return yaml.encode(json.decode(body))
