"""Request bodies: read within a limit, decoded, checked against the schema and the URL.

Errors are the API server's: 413 above 3 MiB, 415 for a media type that is not spoken, 400 for what
cannot be decoded or does not belong to the URL, unknown and duplicate fields as fieldValidation
wants them told.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

from edgeorch.api import negotiation, options, statuses
from edgeorch.model import errors, strict, unsupported, walk

if TYPE_CHECKING:
    from edgeorch.api.call import Call
    from edgeorch.model import schema
    from edgeorch.model.kinds import Kind, Object

ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
LIMIT = 3 * 1024 * 1024
BIG, BIG_AT_ONCE = 256 * 1024, 8
"""Bytes from which on a body is big, and how many of those are read at the same time."""
_SECONDS = 60.0
"""Within which all of a body must have come."""
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_MEDIA = {
    "": negotiation.JSON,
    "application/json": negotiation.JSON,
    "application/yaml": negotiation.YAML,
    "application/x-yaml": negotiation.YAML,
    "text/yaml": negotiation.YAML,
    _PROTOBUF: _PROTOBUF,
}


def media_type(call: Call) -> str:
    return call.header("Content-Type").partition(";")[0].strip().lower()


def unknown_format(accepted: str) -> errors.StatusError:
    return errors.unsupported_media_type(
        f"the body of the request was in an unknown format - accepted media types include: "
        f"{accepted}"
    )


async def read(call: Call) -> bytes:
    """The whole body. Raises StatusError (400, 408, 413)."""
    request = call.request
    if (request.content_length or 0) > LIMIT:
        raise _too_large()
    if call.header("Expect").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    gathered = bytearray()
    timer = asyncio.timeout(_SECONDS)
    try:
        async with timer:
            await _gather(call, gathered)
    except TimeoutError:
        if not timer.expired():
            raise
        raise statuses.body_not_in_time() from None
    except (aiohttp.ClientPayloadError, aiohttp.http.HttpProcessingError) as error:
        raise errors.bad_request(f"cannot read the body of the request: {error}") from error
    return bytes(gathered)


async def _gather(call: Call, gathered: bytearray) -> None:
    """A big body waits until few enough others are on their way: they all lie in memory."""
    async with contextlib.AsyncExitStack() as stack:
        held = False
        async for chunk in call.request.content.iter_any():
            gathered += chunk
            if len(gathered) > LIMIT:
                raise _too_large()
            if len(gathered) > BIG and not held and call.big_bodies is not None:
                await stack.enter_async_context(call.big_bodies)
                held = True


def _too_large() -> errors.StatusError:
    return errors.too_large(f"Request entity too large: limit is {LIMIT}")


async def decode(call: Call, table: schema.Schema, expected: str) -> tuple[Object, list[str]]:
    """The object in the body, and its duplicate fields as findings. Raises StatusError."""
    media = _MEDIA.get(media_type(call))
    if media is None:
        raise unknown_format(ACCEPTED)
    return _parse(table, await read(call), media, expected)


def _parse(
    table: schema.Schema, body: bytes, media: str, expected: str
) -> tuple[Object, list[str]]:
    if media == _PROTOBUF:
        from edgeorch.model import protobuf

        return protobuf.decode(table, body, expected), []
    return strict.parse(body, media, expected)


async def optional(call: Call, table: schema.Schema) -> Object | None:
    """DeleteOptions, when there is a body. Raises StatusError."""
    body = await read(call)
    if not body.strip():
        return None
    media = _MEDIA.get(media_type(call))
    if media is None:
        raise unknown_format(ACCEPTED)
    obj, _ = _parse(table, body, media, "DeleteOptions")
    if (name := obj.get("kind") or "DeleteOptions") != "DeleteOptions":
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type DeleteOptions): "
            f"{name} is another kind"
        )
    return checked(table, "v1", "DeleteOptions", obj)


def checked(table: schema.Schema, api_version: str, name: str, obj: Object) -> Object:
    """An object of a kind that is not stored: options, Scale, Binding. Raises StatusError (400)."""
    try:
        found, _ = strict.check(table.type_of(api_version, name), obj)
    except walk.Mismatch as error:
        version = api_version.rpartition("/")[2]
        raise errors.bad_request(
            f'{name} in version "{version}" cannot be handled as a {name}: {error}'
        ) from None
    return found


def conform(
    call: Call,
    table: schema.Schema,
    kind: Kind,
    obj: Object,
    duplicates: list[str],
    validation: str,
) -> Object:
    """The object as the schema has it; findings are refused, told or ignored.

    Raises StatusError (400).
    """
    obj, findings = strict.conform(table, kind, obj)
    findings = [*duplicates, *findings]
    if findings and validation == options.STRICT:
        raise strict.refused(kind, findings)
    tell(call, findings, validation)
    return obj


def tell(call: Call, findings: list[str], validation: str) -> None:
    if validation == options.WARN:
        for finding in strict.warnings(findings):
            call.warn(finding)


def tell_ignored(call: Call, kind: Kind, obj: Object, before: Object | None = None) -> None:
    """Warn of fields that are kept but not acted on; of all, or of those not there before."""
    known = unsupported.ignored(kind, before) if before is not None else []
    for path in unsupported.ignored(kind, obj):
        if path not in known:
            call.warn(unsupported.warning(path))


def check_place(namespace: str | None, name: str, obj: Object) -> None:
    """The object belongs where the URL says; `name` "" where the URL has none. Raises StatusError.

    An absent namespace is filled in.
    """
    meta = obj.setdefault("metadata", {})
    if namespace is None:
        if meta.get("namespace"):
            raise errors.bad_request(_WRONG_NAMESPACE)
    elif (meta.get("namespace") or namespace) != namespace:
        raise errors.bad_request(_WRONG_NAMESPACE)
    else:
        meta["namespace"] = namespace
    if not name:
        return
    if not meta.get("name"):
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: "
            "name must be provided"
        )
    if meta["name"] != name:
        raise errors.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )


_WRONG_NAMESPACE = (
    "the namespace of the provided object does not match the namespace sent on the request"
)
