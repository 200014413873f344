"""`bundles/NAME/manifests`: what a fleet pushes, and reads back.

The body is YAML or JSON, also gzip; `Content-Digest` (RFC 9530) is checked over the bytes as sent,
`If-Match` and `If-None-Match` (RFC 9110) against the version that is wanted. Loaded with the first
push: a device without a fleet does without.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import io
import re
import zlib
from typing import TYPE_CHECKING, Any

from edgeorch.api import bodies, options, ports, responses
from edgeorch.lib import journal
from edgeorch.model import bundles, errors, kinds, unsupported

if TYPE_CHECKING:
    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

_HASHES = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_DIGEST = re.compile(r"\s*([a-z0-9-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")
_MEDIA = frozenset(
    ("", "application/json", "application/yaml", "application/x-yaml", "text/yaml",
     "application/x-www-form-urlencoded", "application/octet-stream")
)  # fmt: skip
_YAML = "application/yaml"
SIGNATURE = "Edgeorch-Signature"


async def serve(
    call: Call,
    objects: Objects,
    table: schema.Schema,
    target: Target,
    taker: ports.Bundles | None,
) -> web.StreamResponse:
    """Raises StatusError."""
    if taker is None:
        raise errors.unavailable("this server takes no bundles")
    if call.verb == "get":
        return await _get(call, objects, target, taker)
    dry_run = options.writing(call).dry_run
    manifests = await _manifests(call)
    await taker.verify(target.name, manifests, call.header(SIGNATURE))
    items, causes, header = bundles.parse_all(manifests, table, objects.registry)
    if header is not None and header.name not in ("", target.name):
        why = f"these are manifests of bundle {header.name}"
        causes.append(errors.invalid_value("metadata.name", target.name, why))
    if causes:
        raise errors.invalid(kinds.BUNDLE.kind, kinds.BUNDLE.group, target.name, causes)
    for item in items:
        for path in unsupported.ignored(item.kind, item.obj):
            call.warn(f"{item.place}: {unsupported.warning(path)}")
    asked = bundles.Push(
        target.name,
        manifests,
        items,
        deadline=call.integer("deadlineSeconds"),
        min_ready=call.integer("minReadySeconds"),
        health_url=call.query.get("healthURL"),
        sequence=header.sequence if header is not None else None,
        force=call.flag("force"),
        dry_run=dry_run,
    )
    with journal.about(bundle=target.name):
        outcome = await taker.push(asked, lambda it: _check_preconditions(call, target, it))
    for warning in outcome.warnings:
        call.warn(warning)
    code = 202 if outcome.held else 201 if outcome.is_new and not dry_run else 200
    return await responses.obj(call, _told(target.name, outcome, call.warnings), code=code)


async def _get(
    call: Call, objects: Objects, target: Target, taker: ports.Bundles
) -> web.StreamResponse:
    stored = objects.get(kinds.BUNDLE.resource, "", target.name)
    version = stored.view(bundles.Bundle).spec.version
    manifests = taker.manifests(target.name, version) if version else None
    if manifests is None:
        raise errors.not_found("bundles.edgeorch.io/manifests", target.name)
    digest = base64.b64encode(hashlib.sha256(manifests).digest()).decode()
    headers = {"ETag": f'"{version}"', "Content-Digest": f"sha-256=:{digest}:"}
    return await responses.parts(call, [manifests], media=_YAML, extra=headers)


def _told(name: str, outcome: bundles.Outcome, warnings: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "apiVersion": kinds.BUNDLE.api_version,
        "kind": "BundlePush",
        "metadata": {"name": name},
        "version": outcome.version,
        "phase": outcome.phase,
    }
    found |= outcome.changes.lists()
    if outcome.held:
        found["held"] = outcome.held
    if warnings:
        found["warnings"] = list(warnings)
    return found


# --- the request ---------------------------------------------------------------------------------


async def _manifests(call: Call) -> bytes:
    """The body, checked and unpacked. Raises StatusError (400, 413, 415)."""
    if bodies.media_type(call) not in _MEDIA:
        raise bodies.unknown_format("application/yaml, application/json")
    coding = call.header("Content-Encoding").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise errors.unsupported_media_type(
            f'Content-Encoding "{coding}" is not spoken here: send gzip, or none'
        )
    body = await bodies.read(call)
    _check_digest(call.header("Content-Digest"), body)
    return _gunzipped(body) if coding == "gzip" else body


def _gunzipped(body: bytes) -> bytes:
    """All members, one after another (RFC 1952, 2.2)."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as unpacker:
            found = unpacker.read(bodies.LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise errors.bad_request(f"the body is not gzip: {error}") from None
    if len(found) > bodies.LIMIT:
        raise errors.too_large(f"Request entity too large: limit is {bodies.LIMIT} unpacked")
    return found


def _check_digest(header: str, body: bytes) -> None:
    """Raises StatusError (400) when the body is not the one the sender took the digest of."""
    if not header:
        return
    known = 0
    for part in header.split(","):
        match = _DIGEST.fullmatch(part)
        if match is None:
            raise errors.bad_request(
                f"Content-Digest {part.strip()!r} cannot be read: send sha-256=:BASE64: (RFC 9530)"
            )
        make = _HASHES.get(match[1])
        if make is None:
            continue
        known += 1
        try:
            told = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            told = b""
        if not hmac.compare_digest(told, make(body).digest()):
            raise errors.bad_request(
                f"Content-Digest {match[1]} does not match the body of {len(body)} bytes: "
                "it was damaged or cut on its way; send it again"
            )
    if not known:
        raise errors.bad_request("Content-Digest names no algorithm known here: send sha-256")


def _check_preconditions(call: Call, target: Target, stored: Stored | None) -> None:
    """Raises StatusError (412)."""
    there = stored.view(bundles.Bundle).spec.version if stored is not None else ""
    wanted, unwanted = call.header("If-Match"), call.header("If-None-Match")
    if wanted and not _matches(wanted, there):
        raise _precondition_failed(target.name, f"its version is {there or 'none'}, not {wanted}")
    if unwanted and _matches(unwanted, there):
        raise _precondition_failed(target.name, f"its version is {there} already")


def _matches(header: str, version: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return bool(version) and ("*" in tags or version in tags)


def _precondition_failed(name: str, why: str) -> errors.StatusError:
    return errors.StatusError(
        412,
        "PreconditionFailed",
        f'Operation cannot be fulfilled on {kinds.BUNDLE.resource} "{name}": {why}',
        details={"name": name, "group": kinds.BUNDLE.group, "kind": kinds.BUNDLE.plural},
    )
