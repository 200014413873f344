"""In which form the client wants the answer: the Accept header.

Pure. JSON and YAML, each as the object itself, as a meta.k8s.io Table or as PartialObjectMetadata.
Protobuf is not spoken: clients that prefer it name JSON as second choice.
"""

from __future__ import annotations

from msgspec import Struct

from edgeorch.model import errors

JSON = "application/json"
YAML = "application/yaml"

OBJECT, TABLE, METADATA = "", "Table", "PartialObjectMetadata"

_ACCEPTED = (
    "application/json, application/json;stream=watch, application/yaml, "
    "application/json;as=Table;v=v1;g=meta.k8s.io"
)
_MAX_CLAUSES = 64


class Format(Struct, frozen=True):
    """`media` is JSON or YAML; `shape` one of OBJECT, TABLE, METADATA; `version` of meta.k8s.io."""

    media: str = JSON
    shape: str = OBJECT
    version: str = ""


class Clause(Struct, frozen=True):
    """One alternative of an Accept header."""

    media: str
    parameters: dict[str, str]
    quality: float


def clauses(accept: str) -> list[Clause]:
    """The alternatives, most wanted first; equal ones stay in the client's order."""
    found = []
    for text in accept.split(",")[:_MAX_CLAUSES]:
        media, *rest = (part.strip() for part in text.split(";"))
        if not media:
            continue
        parameters = {}
        for part in rest:
            name, _, value = part.partition("=")
            parameters[name.strip().lower()] = value.strip().strip('"')
        found.append(Clause(media.lower(), parameters, _quality(parameters.pop("q", "1"))))
    found.sort(key=lambda clause: (-clause.quality, clause.media == "*/*"))
    return [clause for clause in found if clause.quality > 0]


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return quality if 0.0 <= quality <= 1.0 else 1.0


def choose(accept: str, *, stream: bool = False, shapes: bool = True) -> Format:
    """The best that can be served. `stream`: only JSON can be watched. Raises StatusError (406)."""
    wanted = clauses(accept)
    if not wanted and not accept.strip():
        return Format()
    for clause in wanted:
        media = _media(clause.media)
        if media is None or (stream and media == YAML):
            continue
        found = _shape(media, clause.parameters, shapes)
        if found is not None:
            return found
    raise errors.not_acceptable(f"only the following media types are accepted: {_ACCEPTED}")


def _media(media: str) -> str | None:
    match media:
        case "application/json" | "*/*" | "application/*":
            return JSON
        case "application/yaml" | "application/x-yaml" | "text/yaml":
            return YAML
        case _:
            return None


def _shape(media: str, parameters: dict[str, str], shapes: bool) -> Format | None:
    shape = parameters.get("as", "")
    if not shape:
        return Format(media)
    group, version = parameters.get("g", ""), parameters.get("v", "")
    if not shapes or group != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    match shape:
        case "Table":
            return Format(media, TABLE, version)
        case "PartialObjectMetadata" | "PartialObjectMetadataList":
            return Format(media, METADATA, version)
        case _:
            return None
