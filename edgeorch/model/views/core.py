"""Namespaces, nodes, and objects of which little is read."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from edgeorch.model.views.base import Condition, Meta, Quantities, View


class NamespaceSpec(View, frozen=True, kw_only=True):
    finalizers: list[str] = []


class NamespaceStatus(View, frozen=True, kw_only=True):
    phase: str = "Active"
    conditions: list[Condition] = []


class Namespace(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class Taint(View, frozen=True, kw_only=True):
    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(View, frozen=True, kw_only=True):
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeStatus(View, frozen=True, kw_only=True):
    conditions: list[Condition] = []
    allocatable: Quantities = {}


class Node(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Anything(View, frozen=True, kw_only=True):
    """Any object, for those who only look at its metadata."""

    metadata: Meta
    api_version: str = ""
    kind: str = ""


class DataObject(View, frozen=True, kw_only=True):
    """ConfigMap or Secret (whose `data` is base64)."""

    metadata: Meta
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
