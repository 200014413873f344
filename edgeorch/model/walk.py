"""The walk over an object along the schema table: names, types, canonical forms.

What Go's decoding does is done here: unknown fields are dropped (and told), null is absent, empty
optional lists and maps vanish, quantities and times become canonical. A wrong type raises
`Mismatch`, worded as encoding/json words it, naming the innermost Go struct and the path of fields
without indices; findings name the path with indices.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from edgeorch.lib import quantity
from edgeorch.model import schema, times

Object = dict[str, Any]

MAX_FINDINGS = 100
# A field, an index, or the key of a map.
_Part = str | int | tuple[str]
_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_ZEROS: dict[str, Any] = {
    "string": "", "int32": 0, "int64": 0, "boolean": False, "number": 0, "quantity": "0",
    "int-or-string": 0, "bytes": "", "ref": {}, "array": [], "map": {},
}  # fmt: skip


class Mismatch(ValueError):
    """A value of the wrong type, or that its type's decoder refuses."""


def json_name(value: Any) -> str:
    """What encoding/json calls a value of the wrong type."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


class Walk:
    """One walk; `findings` are the unknown fields in document order, worded."""

    __slots__ = ("_path", "findings")

    def __init__(self) -> None:
        self._path: list[_Part] = []
        self.findings: list[str] = []

    def struct(self, value: Object, struct: schema.Struct) -> Object:
        fields = struct.fields
        path = self._path
        out: Object = {}
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                if struct.preserve_unknown:
                    out[name] = item
                else:
                    self._unknown(name)
                continue
            if item is None:
                continue
            shape = field.shape
            if type(item) is shape.exact:
                out[name] = item
                continue
            path.append(name)
            done = _CHECKS[shape.kind](self, item, shape, struct)
            path.pop()
            if done or not field.omit_empty:
                out[name] = done
        return out

    def _unknown(self, name: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            told = f'unknown field "{self._at(name)}"'
            if told not in self.findings:
                self.findings.append(told)

    def _at(self, *more: str) -> str:
        """The path of the value that is being walked, or of a field of it, with indices."""
        text = ""
        for part in (*self._path, *more):
            match part:
                case int():
                    text += f"[{part}]"
                case (key,):
                    text += f".{key}"
                case _:
                    text += f".{part}"
        return text[1:]

    def _refused(self, why: str) -> Mismatch:
        """In the decoder's words, which name no field, after the field."""
        place = self._at()
        return Mismatch(f"{place}: {why}" if place else why)

    def _wrong(self, told: str, go: str, owner: schema.Struct) -> Mismatch:
        names = ".".join(part for part in self._path if isinstance(part, str))
        where = f"struct field {owner.go_name}.{names}" if names else "value"
        return Mismatch(f"json: cannot unmarshal {told} into Go {where} of type {go}")

    def _ref(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        if type(value) is not dict:
            raise self._wrong(json_name(value), shape.go, owner)
        return self.struct(value, shape.struct)

    def _array(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        item = shape.item
        assert item is not None  # noqa: S101
        if type(value) is not list:
            raise self._wrong(json_name(value), shape.go, owner)
        exact = item.exact
        check = _CHECKS[item.kind]
        path = self._path
        out = []
        for index, element in enumerate(value):
            if type(element) is exact:
                out.append(element)
            elif element is None:
                out.append(_zero(item))
            else:
                path.append(index)
                out.append(check(self, element, item, owner))
                path.pop()
        return out

    def _map(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        item = shape.item
        assert item is not None  # noqa: S101
        if type(value) is not dict:
            raise self._wrong(json_name(value), shape.go, owner)
        exact = item.exact
        check = _CHECKS[item.kind]
        path = self._path
        out = {}
        for key, element in value.items():
            if type(element) is exact:
                out[key] = element
            elif element is None:
                out[key] = _zero(item)
            else:
                path.append((key,))
                out[key] = check(self, element, item, owner)
                path.pop()
        return out

    def _scalar(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        # Values of the exact Python type never come here.
        raise self._wrong(json_name(value), shape.go, owner)

    def _integer(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        low, high = _INT32 if shape.kind == "int32" else _INT64
        if type(value) is int and low <= value <= high:
            return value
        told = json_name(value)
        raise self._wrong(f"number {value}" if told == "number" else told, shape.go, owner)

    def _number(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        if type(value) in (int, float):
            return value
        raise self._wrong(json_name(value), shape.go, owner)

    def _int_or_string(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        if type(value) is str:
            return value
        if type(value) is int and _INT32[0] <= value <= _INT32[1]:
            return value
        told = json_name(value)
        raise self._wrong(f"number {value}" if told == "number" else told, "int32", owner)

    def _quantity(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        try:
            if type(value) in (str, int, float):
                return quantity.canonical(str(value))
        except quantity.QuantityError as error:
            raise self._refused(str(error)) from None
        raise self._refused(quantity.WRONG_FORMAT)

    def _time(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        if type(value) is not str:
            raise self._wrong(json_name(value), "string", owner)
        try:
            return times.normal(value, micro=shape.kind == "microtime")
        except times.TimeError as error:
            raise self._refused(str(error)) from None

    def _bytes(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        if type(value) is not str:
            raise self._wrong(json_name(value), shape.go, owner)
        try:
            return _base64(value)
        except Mismatch as error:
            raise self._refused(str(error)) from None

    def _any(self, value: Any, shape: schema.Shape, owner: schema.Struct) -> Any:
        return value


_Check = Callable[[Walk, Any, schema.Shape, schema.Struct], Any]
_CHECKS: dict[str, _Check] = {
    "string": Walk._scalar,
    "boolean": Walk._scalar,
    "int32": Walk._integer,
    "int64": Walk._integer,
    "number": Walk._number,
    "quantity": Walk._quantity,
    "int-or-string": Walk._int_or_string,
    "time": Walk._time,
    "microtime": Walk._time,
    "bytes": Walk._bytes,
    "any": Walk._any,
    "ref": Walk._ref,
    "array": Walk._array,
    "map": Walk._map,
}


def _zero(shape: schema.Shape) -> Any:
    """What Go makes of null inside a list or map: the type's zero value."""
    zero = _ZEROS.get(shape.kind)
    return zero.copy() if isinstance(zero, (dict, list)) else zero


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _base64(text: str) -> str:
    """Re-encoded, which drops line breaks. Raises Mismatch naming the byte, as Go does."""
    plain = text.replace("\n", "").replace("\r", "")
    try:
        raw = binascii.a2b_base64(plain.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Mismatch(f"illegal base64 data at input byte {_illegal(text)}") from None
    return base64.b64encode(raw).decode()


def _illegal(text: str) -> int:
    """Where Go's decoder gives up: at a foreign byte, a misplaced `=`, or the end of input."""
    raw = text.encode()
    digits = 0
    for at, char in enumerate(map(chr, raw)):
        if char in "\r\n":
            continue
        if char not in _ALPHABET:
            if char != "=" or digits % 4 < 2:
                return at
            return _illegal_padding(raw, at, digits % 4)
        digits += 1
    return len(raw) - digits % 4


def _illegal_padding(raw: bytes, at: int, digits: int) -> int:
    rest = [i for i in range(at + 1, len(raw)) if raw[i] not in b"\r\n"]
    if digits == 2:
        if not rest:
            return len(raw)
        if raw[rest[0]] != ord("="):
            return rest[0] - 1
        rest = rest[1:]
    return rest[0] if rest else len(raw)
