"""Request bodies in Kubernetes' protobuf, as objects: what clients of today send to create.

kubectl from 1.32 on sends what it makes itself (`create configmap`, `create deployment`...) as
protobuf and takes JSON back, so only reading is needed. The schema table says what a field is; this
table adds its number on the wire. The result is the object that JSON would have carried.

protobuf.bin is zlib over JSON: `types` maps a type name of the schema to its fields, apart by
spaces: NUMBER, then `@TYPE` for a type that lies inline in its parent, or `=NAME` for a field whose
zero value means something (pointers, fields that JSON never omits), or `~NAME` for one that is left
out when it is zero. It is made by scripts/gen_protobuf.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding,
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import datetime
import functools
import pathlib
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.lib import json
from edgeorch.model import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeorch.model import schema
    from edgeorch.model.kinds import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

_MAX_DEPTH = 64
_CELL = re.compile(r"(\d+)([@=~])(\S+)")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_WRAPPED = frozenset({"quantity", "int-or-string", "time", "microtime", "any"})


class WireError(ValueError):
    """The bytes are not what they should be."""


class _Slot(Struct, frozen=True):
    """What a field number stands for. `name` is "" for a type inline in its parent, `type`."""

    name: str
    type: str
    keeps_zero: bool


@functools.cache
def _rows() -> dict[str, str]:
    packed = pathlib.Path(__file__).with_name("protobuf.bin").read_bytes()
    content: dict[str, dict[str, str]] = json.decode(zlib.decompress(packed))
    return content["types"]


@functools.lru_cache(maxsize=256)
def _slots(name: str) -> dict[int, _Slot]:
    found = {}
    for number, mark, told in _CELL.findall(_rows().get(name, "")):
        inline = mark == "@"
        found[int(number)] = _Slot("" if inline else told, told if inline else "", mark == "=")
    return found


def forget() -> None:
    """The table of fields, which is big; the next body in protobuf has it read again."""
    _rows.cache_clear()
    _slots.cache_clear()


def decode(table: schema.Schema, body: bytes, expected: str = "") -> Object:
    """The object in the envelope. Raises StatusError (400)."""
    must_be = f" (must be of type {expected})" if expected else ""
    try:
        return _envelope(table, body)
    except (WireError, UnicodeDecodeError, OverflowError, json.DecodeError) as error:
        raise errors.bad_request(f"the object provided is unrecognized{must_be}: {error}") from None


def _envelope(table: schema.Schema, body: bytes) -> Object:
    if not body.startswith(MAGIC):
        raise WireError("provided data does not appear to be a protobuf message, expected prefix")
    raw, api_version, kind = b"", "", ""
    for number, value in _entries(body[len(MAGIC) :]):
        if number == 1:
            for inner, text in _entries(_bytes(value)):
                if inner == 1:
                    api_version = _bytes(text).decode()
                elif inner == 2:
                    kind = _bytes(text).decode()
        elif number == 2:
            raw = _bytes(value)
    if not table.has(api_version, kind):
        raise WireError(f'no kind "{kind}" is registered for version "{api_version}"')
    decoded = _message(raw, table.type_of(api_version, kind), 0)
    return {"apiVersion": api_version, "kind": kind} | decoded


def _message(data: bytes, of: schema.Struct, depth: int) -> Object:
    obj: Object = {}
    _fill(obj, data, of, of.name, depth)
    return obj


def _fill(obj: Object, data: bytes, of: schema.Struct, name: str, depth: int) -> None:
    """Read `data`, laid out as type `name`, into the fields of `of`."""
    if depth > _MAX_DEPTH:
        raise WireError("exceeded max depth")
    slots = _slots(name)
    for number, value in _entries(data):
        slot = slots.get(number)
        if slot is None:
            continue
        if not slot.name:
            _fill(obj, _bytes(value), of, slot.type, depth + 1)
            continue
        field = of.fields.get(slot.name)
        if field is not None:
            _put(obj, slot, field.shape, value, depth)


def _put(obj: Object, slot: _Slot, shape: schema.Shape, value: int | bytes, depth: int) -> None:
    item = shape.item
    if shape.kind == "map" and item is not None:
        key, inner = _pair(_bytes(value), item, depth)
        obj.setdefault(slot.name, {})[key] = inner
    elif shape.kind == "array" and item is not None:
        held = obj.setdefault(slot.name, [])
        if isinstance(value, bytes) and item.kind in ("int32", "int64", "boolean"):
            held.extend(_value(each, item, depth) for each in _packed(value))
        else:
            held.append(_value(value, item, depth))
    else:
        found = _value(value, shape, depth)
        if found is not None and (slot.keeps_zero or found not in ("", 0, False)):
            obj[slot.name] = found


def _pair(data: bytes, item: schema.Shape, depth: int) -> tuple[str, Any]:
    key = ""
    inner: int | bytes = b"" if item.kind not in ("int32", "int64", "boolean") else 0
    for number, value in _entries(data):
        if number == 1:
            key = _bytes(value).decode()
        elif number == 2:
            inner = value
    if item.kind == "array" and item.item is not None:
        # Lists in maps travel in a message of their own, as its first field.
        below = item.item
        return key, [
            _value(each, below, depth) for number, each in _entries(_bytes(inner)) if number == 1
        ]
    return key, _value(inner, item, depth)


def _value(value: int | bytes, shape: schema.Shape, depth: int) -> Any:
    match shape.kind:
        case "string":
            return _bytes(value).decode()
        case "int32" | "int64":
            return _signed(value)
        case "boolean":
            return bool(_signed(value))
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "number":
            return _double(_bytes(value))
        case "ref":
            return _message(_bytes(value), shape.struct, depth + 1)
        case kind if kind in _WRAPPED:
            return _wrapped(kind, dict(_entries(_bytes(value))))
        case _:
            raise WireError(f"a {shape.kind} cannot be here")


def _double(value: bytes) -> float:
    if len(value) != struct.calcsize("<d"):
        raise WireError("a double was expected")
    return float(struct.unpack("<d", value)[0])


def _wrapped(kind: str, fields: dict[int, int | bytes]) -> Any:
    """Values that JSON writes plainly and protobuf as a small message."""
    match kind:
        case "quantity":
            return _bytes(fields.get(1, b"")).decode() or "0"
        case "int-or-string":
            if _signed(fields.get(1, 0)) == 1:
                return _bytes(fields.get(3, b"")).decode()
            return _signed(fields.get(2, 0))
        case "any":
            raw = _bytes(fields.get(1, b""))
            return json.decode(raw) if raw else None
        case _:
            return _moment(fields, micro=kind == "microtime")


def _moment(fields: dict[int, int | bytes], *, micro: bool) -> str | None:
    if not fields:
        return None
    nanos = _signed(fields.get(2, 0))
    moment = _EPOCH + datetime.timedelta(
        seconds=_signed(fields.get(1, 0)), microseconds=nanos // 1000
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


# --- the wire -----------------------------------------------------------------------------------


def _entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values: varints as they are, the rest as bytes. Raises WireError."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
                continue
            case 1:
                length = 8
            case 5:
                length = 4
            case 2:
                length, position = _varint(data, position)
            case kind:
                raise WireError(f"unexpected wire type {kind}")
        if length > len(data) - position:
            raise WireError("unexpected EOF")
        yield tag >> 3, data[position : position + length]
        position += length


def _packed(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WireError("unexpected EOF")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise WireError("integer overflow")


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise WireError("a number was expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise WireError("bytes were expected")
    return value
