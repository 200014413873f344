"""OpenAPI v2 as protobuf: the `openapi.v2.Document` message of google/gnostic (OpenAPIv2.proto).

Writes the part of the message that our documents use, from their JSON form, piece by piece. A map
becomes a list of name and value; extensions (`x-...`) and free values are YAML text, which JSON is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgeorch.lib import json

Object = dict[str, Any]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, value: str | None) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_bytes(number, value.encode()) for value in values)


def _flag(number: int, value: bool | None) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, name: str, value: bytes) -> bytes:
    """One entry of a map: NamedX { name = 1, value = 2 }."""
    return _bytes(number, _text(1, name) + _bytes(2, value))


def _extensions(number: int, node: Object) -> bytes:
    return b"".join(
        _named(number, name, _bytes(2, json.encode(value) + b"\n"))
        for name, value in node.items()
        if name.startswith("x-")
    )


def document(
    head: Object, paths: Iterable[tuple[str, Object]], definitions: Iterable[tuple[str, Object]]
) -> bytes:
    """`head` holds swagger, info, securityDefinitions and security."""
    info = head["info"]
    return b"".join(
        (
            _text(1, head["swagger"]),
            _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
            _bytes(8, b"".join(_named(2, path, _path_item(item)) for path, item in paths)),
            _bytes(9, b"".join(_named(1, name, schema(node)) for name, node in definitions)),
            b"".join(_bytes(12, _requirement(node)) for node in head.get("security", ())),
            _bytes(13, b"".join(_security(head.get("securityDefinitions", {})))),
        )
    )


def _requirement(node: Object) -> bytes:
    return b"".join(_named(1, name, _texts(1, scopes)) for name, scopes in node.items())


def _security(nodes: Object) -> Iterator[bytes]:
    for name, node in nodes.items():
        key = b"".join(
            (
                _text(1, node["type"]),
                _text(2, node["name"]),
                _text(3, node["in"]),
                _text(4, node.get("description")),
            )
        )
        yield _named(1, name, _bytes(2, key))


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def _path_item(item: Object) -> bytes:
    methods = b"".join(
        _bytes(number, _operation(item[name])) for name, number in _METHODS.items() if name in item
    )
    return methods + b"".join(_bytes(9, _parameter(node)) for node in item.get("parameters", ()))


def _operation(node: Object) -> bytes:
    return b"".join(
        (
            _text(3, node.get("description")),
            _text(5, node.get("operationId")),
            _texts(6, node.get("produces", ())),
            _texts(7, node.get("consumes", ())),
            b"".join(_bytes(8, _parameter(found)) for found in node.get("parameters", ())),
            _bytes(9, b"".join(_response(*pair) for pair in node["responses"].items())),
            _extensions(13, node),
        )
    )


def _response(code: str, node: Object) -> bytes:
    answer = _text(1, node["description"])
    if "schema" in node:
        answer += _bytes(2, _bytes(1, schema(node["schema"])))
    return _named(1, code, _bytes(1, answer))


def _parameter(node: Object) -> bytes:
    """ParametersItem { Parameter { body | non-body { query | path } } }."""
    if node["in"] == "body":
        body = b"".join(
            (
                _text(1, node.get("description")),
                _text(2, node["name"]),
                _text(3, node["in"]),
                _flag(4, node.get("required")),
                _bytes(5, schema(node["schema"])),
            )
        )
        return _bytes(1, _bytes(1, body))
    in_query = node["in"] == "query"
    plain = b"".join(
        (
            _flag(1, node.get("required")),
            _text(2, node["in"]),
            _text(3, node.get("description")),
            _text(4, node["name"]),
            _text(6 if in_query else 5, node["type"]),
            _flag(20 if in_query else 19, node.get("uniqueItems")),
        )
    )
    return _bytes(1, _bytes(2, _bytes(3 if in_query else 4, plain)))


def schema(node: Object) -> bytes:
    """A Schema message."""
    parts = [
        _text(1, node.get("$ref")),
        _text(2, node.get("format")),
        _text(4, node.get("description")),
        _texts(19, node.get("required", ())),
    ]
    if "additionalProperties" in node:
        parts.append(_bytes(21, _bytes(1, schema(node["additionalProperties"]))))
    if "type" in node:
        parts.append(_bytes(22, _text(1, node["type"])))
    if "items" in node:
        parts.append(_bytes(23, _bytes(1, schema(node["items"]))))
    if "properties" in node:
        fields = node["properties"].items()
        parts.append(_bytes(25, b"".join(_named(1, name, schema(sub)) for name, sub in fields)))
    parts.append(_extensions(31, node))
    return b"".join(parts)
