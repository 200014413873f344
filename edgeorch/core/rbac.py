"""Who may do what: Kubernetes' role-based access control as plain functions.

A request is allowed when a rule that its user holds allows it; there is nothing that forbids.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/, pkg/apis/rbac/v1
(evaluation_helpers.go) and pkg/registry/rbac/validation (rule.go, policy_compact.go).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from edgeorch.model import access, selectors, views

ALL = "*"
ACCOUNTS = "system:serviceaccounts"
"""The group of all service accounts."""
_ACCOUNT = "system:serviceaccount:"


class Asked(Struct, frozen=True):
    """What somebody wants to do: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Rule(Struct, frozen=True):
    """rbac.authorization.k8s.io PolicyRule. No `names` are all names."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, asked: Asked) -> bool:
        if not _has(self.verbs, asked.verb):
            return False
        if asked.path:
            return any(_leads(pattern, asked.path) for pattern in self.paths)
        if not _has(self.groups, asked.group) or (self.names and asked.name not in self.names):
            return False
        return _has(self.resources, asked.combined) or (
            bool(asked.subresource) and f"*/{asked.subresource}" in self.resources
        )

    def covers(self, other: Rule) -> bool:
        """Whether nothing that `other` allows is beyond this one. `other` is as `parts` gives."""
        if not all(_has(self.verbs, verb) for verb in other.verbs):
            return False
        if other.paths:
            return all(any(_leads(own, path) for own in self.paths) for path in other.paths)
        return (
            bool(self.resources)
            and all(_has(self.groups, group) for group in other.groups)
            and all(self._reaches(resource) for resource in other.resources)
            and (not self.names or (bool(other.names) and set(other.names) <= set(self.names)))
        )

    def parts(self) -> Iterable[Rule]:
        """The same, one verb of one thing at a time."""
        for verb, path in itertools.product(self.verbs, self.paths):
            yield Rule((verb,), paths=(path,))
        names = self.names or ("",)
        for verb, group, resource, name in itertools.product(
            self.verbs, self.groups, self.resources, names
        ):
            yield Rule((verb,), (group,), (resource,), (name,) if name else ())

    def _reaches(self, resource: str) -> bool:
        _, slash, subresource = resource.partition("/")
        return _has(self.resources, resource) or (
            bool(slash) and f"*/{subresource}" in (self.resources)
        )


def _has(values: Sequence[str], wanted: str) -> bool:
    return wanted in values or ALL in values


def _leads(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def allows(rules: Iterable[Rule], asked: Asked) -> bool:
    return any(rule.allows(asked) for rule in rules)


def beyond(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of `wanted` is not in `held`: nobody may grant it who has not got it."""
    return [
        part
        for rule in wanted
        for part in rule.parts()
        if not any(own.covers(part) for own in held)
    ]


class Permissions(Struct, frozen=True):
    """All that one user may do."""

    everywhere: tuple[Rule, ...] = ()
    within: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    """By namespace, besides."""

    def allow(self, asked: Asked) -> bool:
        if allows(self.everywhere, asked):
            return True
        return bool(asked.namespace) and allows(self.within.get(asked.namespace, ()), asked)

    def rules(self, namespace: str) -> tuple[Rule, ...]:
        return (*self.everywhere, *self.within.get(namespace, ()))


class Grants(Struct, frozen=True):
    """The stored roles and bindings. `built_in`: ClusterRoles that are there without being stored;
    `standing`: the ClusterRoles that members of a group have anyway."""

    built_in: Mapping[str, Sequence[Rule]]
    standing: Mapping[str, Sequence[str]]
    cluster_roles: Mapping[str, access.ClusterRole] = field(default_factory=dict)
    roles: Mapping[tuple[str, str], access.Role] = field(default_factory=dict)
    cluster_bindings: Sequence[access.Binding] = ()
    bindings: Sequence[access.Binding] = ()

    def of(self, name: str, groups: Sequence[str]) -> Permissions:
        """What the user of this name and these groups may do."""
        everywhere: list[Rule] = []
        for group in groups:
            for role in self.standing.get(group, ()):
                everywhere += self._built_in(role)
        for binding in self.cluster_bindings:
            if _binds(binding, name, groups):
                everywhere += self.cluster_role(binding.role_ref.name) or ()
        within: dict[str, tuple[Rule, ...]] = {}
        for binding in self.bindings:
            if _binds(binding, name, groups):
                namespace = binding.metadata.namespace
                found = self.referred(binding.role_ref.kind, namespace, binding.role_ref.name)
                within[namespace] = (*within.get(namespace, ()), *(found or ()))
        return Permissions(tuple(dict.fromkeys(everywhere)), within)

    def referred(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of the role that a binding names; None when it is not there."""
        if kind == "ClusterRole":
            return self.cluster_role(name)
        role = self.roles.get((namespace, name))
        return rules_of(role) if role is not None else None

    def cluster_role(self, name: str) -> tuple[Rule, ...] | None:
        """With what is aggregated into it."""
        stored = self.cluster_roles.get(name)
        if stored is None:
            return self._built_in(name) if name in self.built_in else None
        if stored.aggregation_rule is None:
            return rules_of(stored)
        chosen = [
            selectors.label_selector(_plain(selector))
            for selector in stored.aggregation_rule.cluster_role_selectors
        ]
        return (*rules_of(stored), *self._aggregated(chosen))

    def _built_in(self, name: str) -> tuple[Rule, ...]:
        chosen = [
            selectors.map_selector({AGGREGATE + each: "true"}) for each in TAKES_IN.get(name, ())
        ]
        return (*self.built_in[name], *self._aggregated(chosen))

    def _aggregated(self, chosen: Sequence[selectors.LabelMatch]) -> Iterator[Rule]:
        for role in self.cluster_roles.values() if chosen else ():
            if any(match(role.metadata.labels) for match in chosen):
                yield from rules_of(role)


AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
TAKES_IN = {
    "view": ("view",),
    "edit": ("view", "edit"),
    "admin": ("view", "edit", "admin"),
    "edgeorch:view": ("view",),
    "edgeorch:edit": ("view", "edit"),
}
"""Whose labels make a ClusterRole part of a built-in one."""


def rules_of(role: access.Role) -> tuple[Rule, ...]:
    return tuple(map(rule, role.rules))


def rule(found: access.PolicyRule) -> Rule:
    return Rule(
        tuple(found.verbs),
        tuple(found.api_groups),
        tuple(found.resources),
        tuple(found.resource_names),
        tuple(found.non_resource_urls),
    )


def _plain(selector: views.LabelSelector) -> dict[str, object]:
    return {
        "matchLabels": selector.match_labels,
        "matchExpressions": [
            {"key": each.key, "operator": each.operator, "values": each.values}
            for each in selector.match_expressions
        ],
    }


def _binds(binding: access.Binding, name: str, groups: Sequence[str]) -> bool:
    return any(_is(binding, subject, name, groups) for subject in binding.subjects)


def _is(binding: access.Binding, subject: access.Subject, name: str, groups: Sequence[str]) -> bool:
    match subject.kind:
        case "User":
            return subject.name == name
        case "Group":
            return subject.name in groups
        case "ServiceAccount":
            namespace = subject.namespace or binding.metadata.namespace
            return bool(namespace) and name == account_name(namespace, subject.name)
        case _:
            return False


def account_name(namespace: str, name: str) -> str:
    """The user that a service account is."""
    return f"{_ACCOUNT}{namespace}:{name}"


def account_of(user: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that a user is."""
    namespace, _, name = user.removeprefix(_ACCOUNT).partition(":")
    return (namespace, name) if user.startswith(_ACCOUNT) and namespace and name else None
