"""Views of the RBAC kinds: what roles allow, and who has them."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

import msgspec

from edgeorch.model.views.base import LabelSelector, Meta, View


class PolicyRule(View, frozen=True, kw_only=True):
    verbs: list[str] = []
    api_groups: list[str] = []
    resources: list[str] = []
    resource_names: list[str] = []
    non_resource_urls: list[str] = msgspec.field(name="nonResourceURLs", default=[])


class AggregationRule(View, frozen=True, kw_only=True):
    cluster_role_selectors: list[LabelSelector] = []


class Role(View, frozen=True, kw_only=True):
    metadata: Meta
    rules: list[PolicyRule] = []


class ClusterRole(Role, frozen=True, kw_only=True):
    aggregation_rule: AggregationRule | None = None


class RoleRef(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class Subject(View, frozen=True, kw_only=True):
    kind: str = ""
    api_group: str = ""
    name: str = ""
    namespace: str = ""


class Binding(View, frozen=True, kw_only=True):
    """A RoleBinding or a ClusterRoleBinding."""

    metadata: Meta
    role_ref: RoleRef = RoleRef()
    subjects: list[Subject] = []
