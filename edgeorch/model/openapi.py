"""The OpenAPI v3 documents: `/openapi/v3` and one document for each group and version.

Made from the served kinds and the schema table when somebody asks, as bytes, a type at a time, and
not kept. The index names each document with a digest of what it would be made from, so that
clients may cache it for ever and nothing is rendered for the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import edgeorch
from edgeorch.lib import json
from edgeorch.model import explain, kinds, operations, schema

Object = dict[str, Any]

# Raise it when the rendering below changes, or caches keep what was.
_RENDERING = 1

_REFS = "#/components/schemas/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"

NAMED = {
    "quantity": _QUANTITY,
    "int-or-string": _INT_OR_STRING,
    "time": _TIME,
    "microtime": _MICRO_TIME,
}
"""Scalars that the published documents give a type name of their own."""

_SCALARS: Object = {
    _QUANTITY: {
        "description": "An amount with an optional suffix: 500m, 128Mi, 2.5, 12e6.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
    _INT_OR_STRING: {
        "description": "A whole number, or a text such as a name or a percentage.",
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    _TIME: {"description": "A moment, RFC 3339.", "type": "string", "format": "date-time"},
    _MICRO_TIME: {
        "description": "A moment with microseconds, RFC 3339.",
        "type": "string",
        "format": "date-time",
    },
}
PLAIN: dict[str, Object] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "boolean": {"type": "boolean"},
    "number": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}


def path_of(group: str, version: str) -> str:
    """`api/v1` or `apis/apps/v1`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(registry: kinds.Registry, table: schema.Schema | None = None) -> Object:
    """The body of `/openapi/v3`."""
    table = table or schema.load()
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = path_of(group, version)
            tag = digest(registry, table, group, version)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag}"}
    return {"paths": paths}


def digest(registry: kinds.Registry, table: schema.Schema, group: str, version: str) -> str:
    """Changes whenever the document would; also its ETag."""
    told = hashlib.sha256(f"{edgeorch.__version__} {_RENDERING} {table.release}".encode())
    told.update(explain.digest())
    for kind in registry.served():
        if (kind.group, kind.version) == (group, version):
            told.update(repr(kind).encode())
            told.update(_own_schema(table, kind))
    return told.hexdigest().upper()


def _own_schema(table: schema.Schema, kind: kinds.Kind) -> bytes:
    """The schema of a kind that arrived at run time; the others only change with a release."""
    body = operations.Body(kind.api_version, kind.kind)
    if table.built_in(table.type_of(kind.api_version, kind.kind).name):
        return b""
    types = closure(table, [body]).values()
    return b"".join(json.encode(render(struct, _REFS, [], wrap=True)) for struct in types)


def document(registry: kinds.Registry, table: schema.Schema, group: str, version: str) -> bytes:
    """The document of one group and version. Raises KeyError when it is not served."""
    if version not in registry.groups().get(group, ()):
        raise KeyError(path_of(group, version))
    offered = list(operations.of_version(registry, group, version))
    schemas = b",".join(_components(table, bodies(offered)))
    paths = b",".join(_paths(table, offered))
    head = json.encode({"title": "Kubernetes", "version": edgeorch.__version__})
    return (
        b'{"openapi":"3.0.0","info":' + head + b',"paths":{' + paths + b"},"
        b'"components":{"schemas":{' + schemas + b'},"securitySchemes":{"BearerToken":'
        b'{"type":"apiKey","description":"Bearer Token authentication",'
        b'"name":"authorization","in":"header"}}},"security":[{"BearerToken":[]}]}'
    )


def bodies(offered: Iterable[operations.Operation]) -> list[operations.Body]:
    """Every type that the operations take or give."""
    found = {operations.STATUS: None}
    for operation in offered:
        for body in (operation.subject, operation.takes, operation.gives):
            if body is not None:
                found[body] = None
    return list(found)


def closure(table: schema.Schema, roots: Iterable[operations.Body]) -> dict[str, schema.Struct]:
    """The types the roots need, by name."""
    found: dict[str, schema.Struct] = {}
    waiting = [table.type_of(body.api_version, body.kind) for body in roots]
    while waiting:
        struct = waiting.pop()
        if struct.name not in found:
            found[struct.name] = struct
            for field in struct.fields.values():
                inner = field.shape.fields()
                if inner is not None:
                    waiting.append(inner)
    return found


def gvks(table: schema.Schema, roots: Iterable[operations.Body]) -> dict[str, list[Object]]:
    """Type name to the group, version and kind it stands for."""
    found: dict[str, list[Object]] = {}
    for body in roots:
        name = table.type_of(body.api_version, body.kind).name
        found.setdefault(name, []).append(gvk(body))
    return found


def gvk(body: operations.Body) -> Object:
    group, _, version = body.api_version.rpartition("/")
    return {"group": group, "version": version, "kind": body.kind}


def _components(table: schema.Schema, roots: list[operations.Body]) -> Iterator[bytes]:
    named = gvks(table, roots)
    needed: set[str] = set()
    for name, struct in sorted(closure(table, roots).items()):
        rendered = render(struct, _REFS, named.get(name, []), wrap=True)
        needed.update(NAMED[kind] for kind in _scalar_kinds(struct) if kind in NAMED)
        yield json.encode(struct.openapi_name) + b":" + json.encode(rendered)
    for name in sorted(needed):
        yield json.encode(name) + b":" + json.encode(_SCALARS[name])


def _scalar_kinds(struct: schema.Struct) -> Iterator[str]:
    for field in struct.fields.values():
        shape: schema.Shape | None = field.shape
        while shape is not None and shape.item is not None:
            shape = shape.item
        if shape is not None:
            yield shape.kind


def render(struct: schema.Struct, refs: str, named: list[Object], *, wrap: bool) -> Object:
    """The JSON schema of a type. `wrap` puts references that carry a text into an allOf, which
    OpenAPI v3 wants and v2 does not."""
    found: Object = {"type": "object"}
    text = explain.of_type(struct.name)
    if text:
        found = {"description": text, **found}
    properties = {}
    for name, field in struct.fields.items():
        told = explain.of_field(struct.name, name)
        properties[name] = _property(field, refs, told, wrap=wrap)
    if properties:
        found["properties"] = properties
    required = [field.name for field in struct.fields.values() if field.required]
    if required:
        found["required"] = required
    if struct.atomic:
        found["x-kubernetes-map-type"] = "atomic"
    if named:
        found["x-kubernetes-group-version-kind"] = named
    return found


def _property(field: schema.Field, refs: str, text: str, *, wrap: bool) -> Object:
    found = _shape(field.shape, refs)
    if text:
        if wrap and "$ref" in found:
            found = {"allOf": [found]}
        found = {"description": text, **found}
    if field.shape.kind == "map":
        if field.list_type:
            found["x-kubernetes-map-type"] = field.list_type
    elif field.list_type:
        found["x-kubernetes-list-type"] = field.list_type
    if field.list_keys:
        found["x-kubernetes-list-map-keys"] = list(field.list_keys)
    if field.merge_key:
        found["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.strategy:
        found["x-kubernetes-patch-strategy"] = ",".join(field.strategy)
    return found


def _shape(shape: schema.Shape, refs: str) -> Object:
    if shape.kind == "ref":
        return {"$ref": refs + shape.struct.openapi_name}
    if shape.kind in NAMED:
        return {"$ref": refs + NAMED[shape.kind]}
    if shape.kind == "array" and shape.item is not None:
        return {"type": "array", "items": _shape(shape.item, refs)}
    if shape.kind == "map" and shape.item is not None:
        return {"type": "object", "additionalProperties": _shape(shape.item, refs)}
    return dict(PLAIN[shape.kind])


def path_parameters(path: str) -> list[tuple[str, str]]:
    """Name and text of the variables in a path."""
    known = {
        "namespace": "The namespace of the object.",
        "name": "The name of the object.",
    }
    return [(name, text) for name, text in known.items() if f"{{{name}}}" in path]


def by_path(
    offered: Iterable[operations.Operation],
) -> dict[str, list[operations.Operation]]:
    found: dict[str, list[operations.Operation]] = {}
    for operation in offered:
        found.setdefault(operation.path, []).append(operation)
    return found


def _paths(table: schema.Schema, offered: list[operations.Operation]) -> Iterator[bytes]:
    for path, methods in by_path(offered).items():
        item: Object = {operation.method: _operation(table, operation) for operation in methods}
        item["parameters"] = [
            {
                "name": name,
                "in": "path",
                "description": text,
                "required": True,
                "schema": {"type": "string", "uniqueItems": True},
            }
            for name, text in path_parameters(path)
        ]
        yield json.encode(path) + b":" + json.encode(item)


def _operation(table: schema.Schema, operation: operations.Operation) -> Object:
    found: Object = {
        "operationId": operation.identifier,
        "parameters": [_query(name) for name in operation.query],
        "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": gvk(operation.subject),
    }
    if operation.method == "patch":
        content: Object = {media: {"schema": {"type": "object"}} for media in operation.media}
        content["application/json-patch+json"] = {
            "schema": {"type": "array", "items": {"type": "object"}}
        }
        found["requestBody"] = {"content": content, "required": True}
    elif operation.takes is not None:
        content = {media: _content(table, operation.takes) for media in operation.media}
        found["requestBody"] = {"content": content}
    if operation.gives is not None:
        content = {media: _content(table, operation.gives) for media in operations.JSON}
        found["responses"]["200"]["content"] = content
    return found


def _content(table: schema.Schema, body: operations.Body) -> Object:
    name = table.type_of(body.api_version, body.kind).openapi_name
    return {"schema": {"$ref": _REFS + name}}


def _query(name: str) -> Object:
    kind, text = operations.PARAMETERS[name]
    return {
        "name": name,
        "in": "query",
        "description": text,
        "schema": {"type": kind, "uniqueItems": True},
    }
