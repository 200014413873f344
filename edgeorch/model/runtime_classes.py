"""The part of a RuntimeClass that edgeorch acts on."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from edgeorch.model.views.base import Meta, Quantities, View


class Overhead(View, frozen=True, kw_only=True):
    pod_fixed: Quantities = {}


class Scheduling(View, frozen=True, kw_only=True):
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []


class RuntimeClass(View, frozen=True, kw_only=True):
    metadata: Meta
    handler: str = ""
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None
