"""Which fields an object has, as paths: the currency of server-side apply (KEP-555).

A path is a tuple of elements, each in the text form of `fieldsV1`: `f:NAME` a field or map key,
`k:{"name":"a"}` an element of a list map, `v:"x"` an element of a set. A field set is a set of
such paths; lists and maps that the schema calls atomic are one path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgeorch.lib import json
from edgeorch.model import schema

Object = dict[str, Any]
Path = tuple[str, ...]
Paths = frozenset[Path]

# Keys of list maps that may be left out; the API's defaults for them.
_KEY_DEFAULTS = {"protocol": "TCP"}
ITEM: Any = ("item",)
"""The value of an element or map entry that has fields of its own."""


def paths_of(obj: Object, struct: schema.Struct) -> Paths:
    """The fields that a configuration names."""
    return frozenset(path for path, value in flatten(obj, struct))


def flatten(obj: Object, struct: schema.Struct) -> Iterator[tuple[Path, Any]]:
    """Every path that can be owned, and its value."""
    return _fields(obj, struct, ())


def _fields(obj: Object, struct: schema.Struct | None, at: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in obj.items():
        field = struct.fields.get(name) if struct else None
        path = (*at, "f:" + name)
        if field is not None:
            yield from _value(value, field, path)
        else:
            yield path, value


def _value(value: Any, field: schema.Field, path: Path) -> Iterator[tuple[Path, Any]]:
    shape = field.shape
    if value in ({}, []) or field.list_type == "atomic":
        yield path, value
    elif shape.kind == "ref" and isinstance(value, dict) and not shape.struct.atomic:
        yield from _fields(value, shape.struct, path)
    elif shape.kind == "map" and isinstance(value, dict):
        yield from _entries(value, shape, path)
    elif is_keyed(field) and isinstance(value, list):
        yield from _items(value, field, path)
    else:
        yield path, value


def _entries(value: Object, shape: schema.Shape, path: Path) -> Iterator[tuple[Path, Any]]:
    inner = shape.fields()
    for key, item in value.items():
        at = (*path, "f:" + key)
        if inner is None or not isinstance(item, dict) or inner.atomic:
            yield at, item
        else:
            yield at, ITEM
            yield from _fields(item, inner, at)


def _items(value: list[Any], field: schema.Field, path: Path) -> Iterator[tuple[Path, Any]]:
    inner = field.shape.fields()
    for item in value:
        at = (*path, element(item, field))
        yield at, ITEM
        if inner is not None and isinstance(item, dict) and field.list_type == "map":
            yield from _fields(item, inner, at)


# Fields whose Go type is a struct and no pointer, which therefore are there as soon as what holds
# them is.
_ALWAYS_THERE = frozenset(
    {
        "daemonEndpoints", "jobTemplate", "lastState", "metadata", "nodeInfo", "resources", "spec",
        "state", "status", "strategy", "template", "updateStrategy",
    }
)  # fmt: skip


def holders(obj: Object, struct: schema.Struct | None, at: Path = ()) -> Iterator[Path]:
    """Maps, lists and objects that exist only for what they hold: whoever writes the first thing
    into one owns it too."""
    for name, value in obj.items():
        field = struct.fields.get(name) if struct else None
        if field is None or not value or field.list_type == "atomic":
            continue
        path, shape = (*at, "f:" + name), field.shape
        if shape.kind == "ref" and isinstance(value, dict) and not shape.struct.atomic:
            if name not in _ALWAYS_THERE:
                yield path
            yield from holders(value, shape.struct, path)
        elif shape.kind == "map" and isinstance(value, dict):
            yield path
        elif is_keyed(field) and isinstance(value, list):
            if not field.required:
                yield path
            inner = shape.fields() if field.list_type == "map" else None
            for item in value:
                if isinstance(item, dict) and inner is not None:
                    yield from holders(item, inner, (*path, element(item, field)))


def is_keyed(field: schema.Field) -> bool:
    """Whether elements of the list are owned one by one."""
    return field.shape.kind == "array" and field.list_type in ("map", "set")


def element(item: Any, field: schema.Field) -> str:
    """The path element of a list's item."""
    if field.list_type == "set":
        return "v:" + json.canonical(item).decode()
    key = {}
    for name in field.list_keys:
        value = item.get(name) if isinstance(item, dict) else None
        value = _KEY_DEFAULTS.get(name) if value is None else value
        if value is not None:
            key[name] = value
    return "k:" + json.canonical(key).decode()


def encode(paths: Iterable[Path]) -> Object:
    """The `fieldsV1` form."""
    root: Object = {}
    for path in sorted(paths):
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node["."] = {}
    return _trimmed(root)


def _trimmed(node: Object) -> Object:
    """A leaf is {} and not {".": {}}."""
    return {
        part: {} if part == "." or child.keys() == {"."} else _trimmed(child)
        for part, child in node.items()
    }


def decode(fields: Any) -> Paths:
    """Raises ValueError for what is no fieldsV1."""
    return frozenset(_decoded(fields, ()))


def _decoded(node: Any, at: Path) -> Iterator[Path]:
    if not isinstance(node, dict):
        raise ValueError(f"cannot decode fieldsV1: {node!r} is not an object")
    if not node and at:
        yield at
    for part, child in node.items():
        if part == ".":
            yield at
        elif part[:2] in ("f:", "k:", "v:", "i:"):
            yield from _decoded(child, (*at, part))
        else:
            raise ValueError(f"cannot decode fieldsV1: unknown element {part}")


def told(path: Path) -> str:
    """`.spec.containers[name="a"].image`"""
    text = ""
    for part in path:
        kind, rest = part[:2], part[2:]
        match kind:
            case "f:":
                text += "." + rest
            case "k:":
                key = json.decode(rest)
                text += (
                    "[" + ",".join(f"{n}={json.encode(v).decode()}" for n, v in key.items()) + "]"
                )
            case "v:":
                text += f"[={rest}]"
            case _:
                text += f"[{rest}]"
    return text
