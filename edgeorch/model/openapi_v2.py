"""The OpenAPI v2 (Swagger) document of everything that is served: `/openapi/v2`.

As JSON, and as the protobuf that kubectl asks for. Made when asked for and not kept; `digest` is
its ETag and costs little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import edgeorch
from edgeorch.lib import json as codec
from edgeorch.model import gnostic, kinds, openapi, operations, schema

Object = dict[str, Any]

ACCEPTED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What clients ask for."""
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What is answered: `@` is not allowed in a Content-Type, and Go's clients refuse it."""

_REFS = "#/definitions/"
_SCALARS: Object = {
    openapi.NAMED["quantity"]: {
        "description": "An amount with an optional suffix: 500m, 128Mi, 2.5, 12e6.",
        "type": "string",
    },
    openapi.NAMED["int-or-string"]: {
        "description": "A whole number, or a text such as a name or a percentage.",
        "type": "string",
        "format": "int-or-string",
    },
    openapi.NAMED["time"]: {
        "description": "A moment, RFC 3339.",
        "type": "string",
        "format": "date-time",
    },
    openapi.NAMED["microtime"]: {
        "description": "A moment with microseconds, RFC 3339.",
        "type": "string",
        "format": "date-time",
    },
}
_HEAD: Object = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": edgeorch.__version__},
}
_SECURITY: Object = {
    "securityDefinitions": {
        "BearerToken": {
            "type": "apiKey",
            "description": "Bearer Token authentication",
            "name": "authorization",
            "in": "header",
        }
    },
    "security": [{"BearerToken": []}],
}


def digest(registry: kinds.Registry, table: schema.Schema) -> str:
    """Changes whenever the document would."""
    told = hashlib.sha256()
    for group, versions in registry.groups().items():
        for version in versions:
            told.update(openapi.digest(registry, table, group, version).encode())
    return told.hexdigest().upper()


def json(registry: kinds.Registry, table: schema.Schema) -> bytes:
    definitions = b",".join(
        codec.encode(name) + b":" + codec.encode(found)
        for name, found in _definitions(registry, table)
    )
    paths = b",".join(
        codec.encode(path) + b":" + codec.encode(item) for path, item in _paths(registry, table)
    )
    head, security = codec.encode(_HEAD)[1:-1], codec.encode(_SECURITY)[1:-1]
    return (
        b"{" + head + b',"paths":{' + paths + b'},"definitions":{' + definitions + b"},"
        + security + b"}"
    )  # fmt: skip


def protobuf(registry: kinds.Registry, table: schema.Schema) -> bytes:
    return gnostic.document(
        {**_HEAD, **_SECURITY}, _paths(registry, table), _definitions(registry, table)
    )


def _offered(registry: kinds.Registry) -> Iterator[operations.Operation]:
    for kind in registry.served():
        yield from operations.of_kind(kind)


def _definitions(registry: kinds.Registry, table: schema.Schema) -> Iterator[tuple[str, Object]]:
    roots = openapi.bodies(_offered(registry))
    named = openapi.gvks(table, roots)
    for name, struct in sorted(openapi.closure(table, roots).items()):
        found = openapi.render(struct, _REFS, named.get(name, []), wrap=False)
        yield struct.openapi_name, found
    yield from _SCALARS.items()


def _paths(registry: kinds.Registry, table: schema.Schema) -> Iterator[tuple[str, Object]]:
    for path, methods in openapi.by_path(_offered(registry)).items():
        item: Object = {operation.method: _operation(table, operation) for operation in methods}
        item["parameters"] = [
            {
                "uniqueItems": True,
                "type": "string",
                "description": text,
                "name": name,
                "in": "path",
                "required": True,
            }
            for name, text in openapi.path_parameters(path)
        ]
        yield path, item


def _operation(table: schema.Schema, operation: operations.Operation) -> Object:
    parameters: list[Object] = [_query(name) for name in operation.query]
    if operation.method == "patch":
        body: Object = {"type": "object"}
        parameters.insert(0, {"name": "body", "in": "body", "required": True, "schema": body})
    elif operation.takes is not None:
        body = _ref(table, operation.takes)
        parameters.insert(0, {"name": "body", "in": "body", "schema": body})
    answer: Object = {"description": "OK"}
    if operation.gives is not None:
        answer["schema"] = _ref(table, operation.gives)
    return {
        "consumes": list(operation.media if operation.method == "patch" else ("*/*",)),
        "produces": list(operations.JSON if operation.gives else ("*/*",)),
        "operationId": operation.identifier,
        "parameters": parameters,
        "responses": {"200": answer, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": openapi.gvk(operation.subject),
    }


def _ref(table: schema.Schema, body: operations.Body) -> Object:
    return {"$ref": _REFS + table.type_of(body.api_version, body.kind).openapi_name}


def _query(name: str) -> Object:
    kind, text = operations.PARAMETERS[name]
    return {"uniqueItems": True, "type": kind, "description": text, "name": name, "in": "query"}
