"""What manifests may say of the bundle that they are a version of: one document of kind Bundle.

    apiVersion: edgeorch.io/v1
    kind: Bundle
    metadata: {name: shop, annotations: {edgeorch.io/sequence: "42"}}

It is part of what is signed, and so cannot be put in front of other manifests, or left out.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from edgeorch.model import errors, kinds
from edgeorch.model.kinds import Object

SEQUENCE = "edgeorch.io/sequence"
"""Annotation: a number that grows with every version. A lower one is not taken any more."""
_DIGITS = 18
_KNOWN = {"apiVersion", "kind", "metadata"}


class Header(Struct, frozen=True):
    name: str
    sequence: int | None = None


def is_header(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("kind") == kinds.BUNDLE.kind
        and value.get("apiVersion") == kinds.BUNDLE.api_version
    )


def read(value: Object, place: str) -> tuple[Header, list[errors.Cause]]:
    """With what is wrong with it."""
    place = f"{place} (Bundle)"
    meta: Any = value.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    annotations = meta.get("annotations") or {}
    name = meta.get("name")
    causes = [
        errors.forbidden_field(f"{place} {each}", "a Bundle among manifests only has metadata")
        for each in sorted(value.keys() - _KNOWN)
    ]
    if not isinstance(name, str) or not name:
        causes.append(errors.required(f"{place} metadata.name", "the bundle's"))
        name = ""
    told = annotations.get(SEQUENCE) if isinstance(annotations, dict) else None
    sequence = number(told) if isinstance(told, str) else None
    if told is not None and sequence is None:
        path = f"{place} metadata.annotations[{SEQUENCE}]"
        why = f"must be a string of 1 to {_DIGITS} decimal digits"
        causes.append(errors.invalid_value(path, told, why))
    return Header(name, sequence), causes


def number(text: str) -> int | None:
    """None for what is no sequence."""
    fits = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return int(text) if fits else None
