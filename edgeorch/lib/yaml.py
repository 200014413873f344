"""The one door to YAML request bodies: the documents of a text, read as Kubernetes reads them.

Kubernetes reads YAML 1.1 with go-yaml and turns it into JSON: `yes` and `on` are booleans,
`0777` is octal, but `12:30` and dates stay text, and keys become strings. Duplicate keys are
reported, the last one wins. Aliases are bounded, so that a small text cannot grow without limit.
Errors read as go-yaml's do (both descend from libyaml). PyYAML is imported when first needed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

_MAX_NODES = 1_000_000
_MAX_DIGITS = 70
"""No 64-bit number is longer in any base."""
_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"), True),
    **dict.fromkeys(("on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_FLOATS = frozenset((".nan", ".NaN", ".NAN")) | {
    sign + name for sign in ("", "+", "-") for name in (".inf", ".Inf", ".INF")
}
_INTEGER = re.compile(r"([-+]?)(?:(0[xX][0-9a-fA-F]+)|(0[bB][01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """Worded as go-yaml words it: "yaml: line 3: ..."."""


def decode(data: bytes) -> tuple[Any, list[str]]:
    """The value, and one text per duplicate key. Raises YamlError; None for an empty text."""
    with _reading(data) as builder:
        return builder.document(), builder.duplicates


def decode_all(data: bytes) -> list[tuple[Any, list[str]]]:
    """`decode` for every document of a text."""
    found: list[tuple[Any, list[str]]] = []
    with _reading(data) as builder:
        while builder.begin():
            value = builder.value()
            found.append((value, builder.duplicates))
            builder.duplicates = []
    return found


@contextlib.contextmanager
def _reading(data: bytes) -> Iterator[_Builder]:
    import yaml  # 1 MB that a device which is sent JSON never needs

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        yield _Builder(yaml.parse(data, Loader=loader))
    except yaml.MarkedYAMLError as error:
        raise YamlError(
            _told(error, scanner=isinstance(error, yaml.scanner.ScannerError))
        ) from None
    except yaml.reader.ReaderError as error:
        raise YamlError(f"yaml: {error.reason}") from None
    except RecursionError:
        raise YamlError("yaml: exceeded max depth") from None


def _told(error: Any, *, scanner: bool) -> str:
    """go-yaml counts the line of a scanner error from 1 and of a parser error from 0."""
    line = 0
    if error.problem_mark is not None and error.problem_mark.line:
        line = error.problem_mark.line + scanner
    elif error.context_mark is not None:
        line = error.context_mark.line
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"


class _Builder:
    """Values out of parser events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self.duplicates: list[str] = []

    def document(self) -> Any:
        """The first one."""
        if not self.begin():
            return None
        value = self.value()
        # One more: what follows the first document's root must parse too.
        next(self._events, None)
        return value

    def begin(self) -> bool:
        """Go to the next document; whether there is one."""
        return any(type(event).__name__ == "DocumentStartEvent" for event in self._events)

    def value(self) -> Any:
        """What the document holds. Anchors do not reach beyond it."""
        self._anchors.clear()
        return self._next()[0]

    def _next(self) -> tuple[Any, int]:
        """The next value and the line it begins on, counted from 1."""
        return self._value(next(self._events))

    def _value(self, event: Any) -> tuple[Any, int]:
        line = event.start_mark.line + 1
        before = self._nodes
        self._count(1)
        value: Any
        match type(event).__name__:
            case "AliasEvent":
                if event.anchor not in self._anchors:
                    raise YamlError(f"yaml: unknown anchor '{event.anchor}' referenced")
                value, size = self._anchors[event.anchor]
                self._count(size)
                return value, line
            case "ScalarEvent":
                value = _scalar(event)
            case "SequenceStartEvent":
                value = self._sequence()
            case _:
                value = self._mapping()
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._nodes - before
        return value, line

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise YamlError("yaml: document contains excessive aliasing")

    def _sequence(self) -> list[Any]:
        items: list[Any] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            items.append(self._value(event)[0])
        return items

    def _mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            merge = getattr(event, "value", None) == "<<" and event.implicit[0]
            key = self._value(event)[0]
            value, line = self._next()
            if merge:
                _merge(merged, value)
                continue
            name = _key(key)
            if name in found:
                self.duplicates.append(f'line {line}: key "{name}" already set in map')
            found[name] = value
        return {**merged, **found} if merged else found


def _merge(into: dict[str, Any], value: Any) -> None:
    sources = value if isinstance(value, list) else [value]
    for source in sources:
        if not isinstance(source, dict):
            raise YamlError("yaml: map merge requires map or sequence of maps as the value")
        for key, item in source.items():
            into.setdefault(key, item)


def _key(key: Any) -> str:
    match key:
        case str():
            return key
        case bool():
            return "true" if key else "false"
        case int() | float():
            return f"{key:g}" if isinstance(key, float) else str(key)
        case _:
            raise YamlError(f"error converting YAML to JSON: unsupported map key: {key!r}")


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = (event.tag or "").removeprefix(_TAG)
    if tag == "binary":
        return _binary(text)
    if tag == "str" or (not event.implicit[0] and not tag) or event.style not in (None, ""):
        return text
    return resolve(text)


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        raise YamlError("yaml: !!binary value contains invalid base64 data") from None


def resolve(text: str) -> Any:
    """A plain scalar's value."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text in _FLOATS:
        raise YamlError(f"json: unsupported value: {text}")
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    if len(plain) <= _MAX_DIGITS and (match := _INTEGER.fullmatch(plain)):
        value = _integer(match)
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        return text if math.isinf(number) else number
    return text


def _integer(match: re.Match[str]) -> int:
    sign, hexadecimal, binary, octal, decimal = match.groups()
    if hexadecimal:
        value = int(hexadecimal, 16)
    elif binary:
        value = int(binary, 2)
    else:
        value = int(octal, 8) if octal else int(decimal)
    return -value if sign == "-" else value


def encode(value: Any) -> bytes:
    """Plain values as YAML that `decode`, and Kubernetes' clients, read as the same values."""
    text = _yaml_dump()(value)
    return str(text).encode()


@functools.cache
def _yaml_dump() -> Callable[[Any], Any]:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        pass

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None if _is_plain(value) else '"'
        return dumper.represent_scalar(f"{_TAG}str", value, style=style)

    Dumper.add_representer(str, text)
    return functools.partial(yaml.dump, Dumper=Dumper, sort_keys=True, allow_unicode=True)


def _is_plain(text: str) -> bool:
    """Whether the text without quotes is read as this text."""
    try:
        return bool(resolve(text) == text)
    except YamlError:
        return False
