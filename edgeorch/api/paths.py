"""URLs of the Kubernetes API: from a path and a method to what is asked of what.

Pure. Shapes (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris):
/api/v1/PLURAL[/NAME[/SUB]], /api/v1/namespaces/NS/PLURAL[/NAME[/SUB]], the same under
/apis/GROUP/VERSION.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.api import statuses
from edgeorch.model import errors

if TYPE_CHECKING:
    from edgeorch.model.kinds import Kind, Registry

NAMESPACES = "namespaces"
PROXY = "proxy"
"""Of nodes, pods and Services: what follows is a path there."""
MANIFESTS = "manifests"
"""Of bundles: what a fleet pushes, not an object."""
STREAMS = ("attach", "exec", "portforward")
"""Subresources of pods that become a connection of their own."""


class Target(Struct, frozen=True):
    """One collection or object. `namespace` is None for cluster kinds and for all namespaces."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace or "", self.name


def segments(raw_path: str) -> list[str]:
    """The parts of a path, unquoted one by one. Raises StatusError on undecodable text."""
    try:
        return [
            urllib.parse.unquote(part, errors="strict")
            for part in raw_path.strip("/").split("/")
            if part
        ]
    except UnicodeDecodeError:
        raise errors.bad_request("the path of the request is not valid UTF-8") from None


def target(registry: Registry, parts: list[str]) -> Target:
    """What /api/... or /apis/... names. Raises StatusError (404)."""
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise statuses.unknown_path()
    namespace: str | None = None
    # namespaces/NAME, namespaces/NAME/status and /finalize are the Namespace object itself.
    if rest[0] == NAMESPACES and len(rest) > 2:
        of_namespace = registry.at_path(group, version, NAMESPACES)
        if of_namespace is None or rest[2] not in of_namespace.subresources or len(rest) > 3:
            namespace, rest = rest[1], rest[2:]
    kind = registry.at_path(group, version, rest[0])
    if kind is None or (len(rest) > 3 and rest[2] != PROXY):
        raise statuses.unknown_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if kind.namespaced != (namespace is not None) and (not kind.namespaced or name):
        raise statuses.unknown_path()
    if subresource and subresource not in kind.subresources:
        raise statuses.unknown_path()
    return Target(kind, namespace, name, subresource)


def verb(method: str, target: Target, *, watch: bool) -> str:
    """The Kubernetes verb of a method; "" for a method that has none there."""
    match method, bool(target.name):
        case "GET", True:
            return "get"
        case "GET", False:
            return "watch" if watch else "list"
        case "DELETE", True:
            return "delete"
        case "DELETE", False:
            return "deletecollection"
        case "PUT", True:
            return "update"
        case "PATCH", True:
            return "patch"
        case "POST", named if named == bool(target.subresource):
            return "create"
        case _:
            return ""


def subresource_verbs(subresource: str) -> tuple[str, ...]:
    match subresource:
        case "log":
            return ("get",)
        case "proxy":
            return ("create", "delete", "get", "patch", "update")
        case "binding" | "eviction" | "token":
            return ("create",)
        case "manifests":
            return ("get", "update")
        case _ if subresource in STREAMS:
            return ("create", "get")
        case "finalize":
            return ("update",)
        case _:
            return ("get", "patch", "update")
