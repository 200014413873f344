"""What all views are made of, and how bytes become one."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

Quantities = dict[str, str]
IntOrString = int | str


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Base of all views: camelCase on the wire, immutable."""


class OwnerReference(View, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Meta(View, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []

    @property
    def controller(self) -> OwnerReference | None:
        return next((ref for ref in self.owner_references if ref.controller), None)


class SelectorRequirement(View, frozen=True, kw_only=True):
    key: str
    operator: str
    values: list[str] = []


class LabelSelector(View, frozen=True, kw_only=True):
    match_labels: dict[str, str] = {}
    match_expressions: list[SelectorRequirement] = []


class Condition(View, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_update_time: str | None = None


V = TypeVar("V", bound=View)

# Decoders are made once each, at first use: a decoder holds the whole type tree.
_decoders: dict[type[View], msgspec.json.Decoder[Any]] = {}


def decode(raw: bytes, view: type[V]) -> V:
    """`raw` as a view; raises msgspec.ValidationError when a stored object does not fit."""
    decoder = _decoders.get(view)
    if decoder is None:
        decoder = _decoders[view] = msgspec.json.Decoder(view)
    found: V = decoder.decode(raw)
    return found
