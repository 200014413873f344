"""The one door to JSON: msgspec beneath, so that it can be exchanged.

Encoding keeps the order in which keys were put in; `canonical` sorts them, so that equal objects
have equal bytes (hashes, change detection).
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()

DecodeError = msgspec.DecodeError
ValidationError = msgspec.ValidationError
Decoder = msgspec.json.Decoder


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def packed(value: Any) -> bytes:
    """For what is kept long: msgspec's own bytes hold on to the buffer they were written to, which
    may be half as large again."""
    return bytes(memoryview(_encoder.encode(value)))


def canonical(value: Any) -> bytes:
    """Equal values give equal bytes."""
    return _canonical.encode(value)


def decode(data: bytes | str) -> Any:
    """Raises DecodeError on malformed input."""
    return _decoder.decode(data)


def pretty(data: bytes) -> bytes:
    """JSON text indented for people."""
    return msgspec.json.format(data, indent=2)


def to_builtins(value: Any) -> Any:
    """A typed view as plain dicts and lists."""
    return msgspec.to_builtins(value)


def convert(value: Any, kind: type[T]) -> T:
    """Plain dicts and lists as a typed view; unknown fields are ignored.

    Raises ValidationError naming the path when a type does not fit.
    """
    return msgspec.convert(value, kind)
