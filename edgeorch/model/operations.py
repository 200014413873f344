"""What the API's documents say can be done: each path and method of the served kinds.

Neutral between OpenAPI v2 and v3, which render it. kubectl looks here (the `fieldValidation` and
`dryRun` parameters of a kind's PATCH) before it relies on the server's validation.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from edgeorch.model import kinds

# Query parameters: name to JSON type and what it does.
PARAMETERS = {
    "allowWatchBookmarks": ("boolean", "Send bookmark events on a watch."),
    "continue": ("string", "The token of the previous chunk of a list."),
    "dryRun": ("string", "All: do everything but store the result."),
    "fieldManager": ("string", "Who makes the change, for managedFields."),
    "fieldSelector": ("string", "Only objects whose fields match."),
    "fieldValidation": ("string", "What to do about unknown fields: Strict, Warn or Ignore."),
    "force": ("boolean", "Take fields over from other managers when applying."),
    "gracePeriodSeconds": ("integer", "How long a pod may take to end."),
    "labelSelector": ("string", "Only objects whose labels match."),
    "limit": ("integer", "The size of a chunk of a list."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "pretty": ("string", "true: indent the answer."),
    "propagationPolicy": ("string", "Orphan, Background or Foreground."),
    "resourceVersion": ("string", "The state to list or to watch from."),
    "resourceVersionMatch": ("string", "How resourceVersion binds a list."),
    "sendInitialEvents": ("boolean", "Begin a watch with what there is."),
    "timeoutSeconds": ("integer", "When a list or watch ends."),
    "watch": ("boolean", "Follow changes instead of listing."),
    "container": ("string", "The container of the pod."),
    "follow": ("boolean", "Go on as the log grows."),
    "limitBytes": ("integer", "The most bytes of log to send."),
    "previous": ("boolean", "The log of the container that ended."),
    "sinceSeconds": ("integer", "Only what is younger."),
    "tailLines": ("integer", "Only so many lines from the end."),
    "timestamps": ("boolean", "Begin every line with its time."),
    "command": ("string", "The command to run."),
    "ports": ("integer", "The ports to forward."),
    "stdin": ("boolean", "Pass standard input."),
    "stdout": ("boolean", "Pass standard output."),
    "stderr": ("boolean", "Pass standard error."),
    "tty": ("boolean", "Give the command a terminal."),
    "path": ("string", "The path to pass on."),
    "deadlineSeconds": ("integer", "How long a version may take to become ready."),
    "minReadySeconds": ("integer", "How long it has to stay ready to count as good."),
    "healthURL": ("string", "What must be reachable after the change."),
}
_WRITE = ("pretty", "dryRun", "fieldManager", "fieldValidation")
_LIST = (
    "pretty", "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit",
    "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_DELETE = ("pretty", "dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_STREAM = ("command", "container", "stdin", "stdout", "stderr", "tty")

JSON = ("application/json", "application/yaml")
PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class Body(Struct, frozen=True):
    """A type of the schema table, by apiVersion and kind."""

    api_version: str
    kind: str


STATUS = Body("v1", "Status")
DELETE_OPTIONS = Body("v1", "DeleteOptions")

# Subresources that carry an object of another kind.
_BODIES = {
    "scale": Body("autoscaling/v1", "Scale"),
    "binding": Body("v1", "Binding"),
    "eviction": Body("policy/v1", "Eviction"),
    "token": Body("authentication.k8s.io/v1", "TokenRequest"),
}
_STREAMS = {
    "exec": _STREAM,
    "attach": _STREAM[1:],
    "portforward": ("ports",),
    "proxy": ("path",),
}
_PUSH = ("dryRun", "force", "deadlineSeconds", "minReadySeconds", "healthURL")
_LOG = (
    "container", "follow", "limitBytes", "pretty", "previous", "sinceSeconds", "tailLines",
    "timestamps",
)  # fmt: skip


class Operation(Struct, frozen=True):
    """One method of one path."""

    path: str
    method: str
    action: str
    identifier: str
    subject: Body
    """Whose group, version and kind the operation carries."""
    query: tuple[str, ...]
    takes: Body | None = None
    gives: Body | None = None
    """None: plain text or a stream."""
    media: tuple[str, ...] = JSON


def of_version(registry: kinds.Registry, group: str, version: str) -> Iterator[Operation]:
    for kind in registry.served():
        if (kind.group, kind.version) == (group, version):
            yield from of_kind(kind)


def of_kind(kind: kinds.Kind) -> Iterator[Operation]:
    """Every operation of a kind, collection first."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"{root}/namespaces/{{namespace}}" if kind.namespaced else root
    collection = f"{scope}/{kind.plural}"
    if kind.namespaced and "list" in kind.verbs:
        yield _listing(kind, f"{root}/{kind.plural}", "list", _name(kind, "list", everywhere=True))
    yield from _collection(kind, collection)
    yield from _item(kind, collection + "/{name}")
    for subresource in kind.subresources:
        yield from _subresource(kind, collection + "/{name}/" + subresource, subresource)


def _name(kind: kinds.Kind, verb: str, suffix: str = "", *, everywhere: bool = False) -> str:
    """The operationId: createAppsV1NamespacedDeployment."""
    group = kind.group.partition(".")[0] or "core"
    scope = "Namespaced" if kind.namespaced and not everywhere else ""
    tail = "ForAllNamespaces" if everywhere else suffix.capitalize()
    version = kind.version.capitalize()
    return f"{verb}{group.capitalize()}{version}{scope}{kind.kind}{tail}"


def _own(kind: kinds.Kind) -> Body:
    return Body(kind.api_version, kind.kind)


def _listing(kind: kinds.Kind, path: str, action: str, identifier: str) -> Operation:
    gives = Body(kind.api_version, kind.kind + "List")
    return Operation(path, "get", action, identifier, _own(kind), _LIST, gives=gives)


def _collection(kind: kinds.Kind, path: str) -> Iterator[Operation]:
    own = _own(kind)
    if "list" in kind.verbs:
        yield _listing(kind, path, "list", _name(kind, "list"))
    if "create" in kind.verbs:
        yield Operation(path, "post", "post", _name(kind, "create"), own, _WRITE, own, own)
    if "deletecollection" in kind.verbs:
        query = tuple(dict.fromkeys((*_LIST[:-2], *_DELETE)))
        name = _name(kind, "deleteCollection")
        yield Operation(
            path, "delete", "deletecollection", name, own, query, DELETE_OPTIONS, STATUS
        )


def _item(kind: kinds.Kind, path: str) -> Iterator[Operation]:
    own = _own(kind)
    if "get" in kind.verbs:
        yield Operation(path, "get", "get", _name(kind, "read"), own, ("pretty",), gives=own)
    yield from _writes(kind, path, own, "")
    if "delete" in kind.verbs:
        name = _name(kind, "delete")
        yield Operation(path, "delete", "delete", name, own, _DELETE, DELETE_OPTIONS, STATUS)


def _writes(kind: kinds.Kind, path: str, body: Body, suffix: str) -> Iterator[Operation]:
    if "update" in kind.verbs:
        name = _name(kind, "replace", suffix)
        yield Operation(path, "put", "put", name, body, _WRITE, body, body)
    if "patch" in kind.verbs:
        query = (*_WRITE, "force")
        name = _name(kind, "patch", suffix)
        yield Operation(path, "patch", "patch", name, body, query, None, body, PATCHES)


def _subresource(kind: kinds.Kind, path: str, name: str) -> Iterator[Operation]:
    own = _own(kind)
    match name:
        case "status" | "scale" | "ephemeralcontainers" | "resize":
            body = _BODIES.get(name, own)
            yield Operation(
                path, "get", "get", _name(kind, "read", name), body, ("pretty",), gives=body
            )
            yield from _writes(kind, path, body, name)
        case "finalize":
            yield Operation(path, "put", "put", _name(kind, "replace", name), own, _WRITE, own, own)
        case "manifests":
            yield Operation(path, "get", "get", _name(kind, "read", name), own, ())
            identifier = _name(kind, "replace", name)
            yield Operation(path, "put", "put", identifier, own, _PUSH, media=("application/yaml",))
        case "log":
            yield Operation(path, "get", "get", _name(kind, "read", name), own, _LOG)
        case "binding" | "eviction" | "token":
            body = _BODIES[name]
            yield Operation(
                path, "post", "post", _name(kind, "create", name), body, _WRITE, body, body
            )
        case _:
            query = _STREAMS.get(name, ())
            for method in ("get", "post"):
                identifier = _name(kind, f"connect{method.capitalize()}", name)
                yield Operation(path, method, "connect", identifier, own, query)
