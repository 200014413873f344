"""Malformed JSON is explained in the words of Go's encoding/json."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import json, jsonsyntax

FAULTS = [
    (b"", "unexpected end of JSON input"),
    (b'{"a":1', "unexpected end of JSON input"),
    (b'"abc', "unexpected end of JSON input"),
    (b"nul", "unexpected end of JSON input"),
    (b"hello", "invalid character 'h' looking for beginning of value"),
    (b"[1,]", "invalid character ']' looking for beginning of value"),
    (b'{"a" 1}', "invalid character '1' after object key"),
    (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
    (b"{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
    (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
    (b"[1 2]", "invalid character '2' after array element"),
    (b"{}x", "invalid character 'x' after top-level value"),
    (b"01", "invalid character '1' after top-level value"),
    (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
    (b"1ex", "invalid character 'x' in exponent of numeric literal"),
    (b"-x", "invalid character 'x' in numeric literal"),
    (b'{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
    (b'"\\x"', "invalid character 'x' in string escape code"),
    (b'"\\u12G4"', "invalid character 'G' in \\u hexadecimal character escape"),
    (b'"a\nb"', r"invalid character '\n' in string literal"),
    (b"[" * 20_000, "invalid character '[' exceeded max depth"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), FAULTS, ids=[repr(text[:12]) for text, _ in FAULTS])
def test_faults(text: bytes, told: str) -> None:
    assert jsonsyntax.explain(text) == told


@given(st.binary(max_size=12) | st.text(alphabet='{}[]",:0123-.etruefalsn\\ ', max_size=14))
def test_agrees_with_the_decoder_on_what_is_json(text: bytes | str) -> None:
    body = text.encode() if isinstance(text, str) else text
    try:
        body.decode()
        json.decode(body)
        refused = False
    except (json.DecodeError, UnicodeDecodeError):
        refused = True
    if not refused:
        assert jsonsyntax.explain(body) == ""
    elif body.isascii() and b"\\u" not in body and b"e" not in body:
        # Left out: surrogates and numbers out of range, which are well-formed.
        assert jsonsyntax.explain(body) != ""


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


@pytest.mark.parametrize(("depth", "deep"), [(1, False), (200, False), (201, True), (500, True)])
def test_depth_is_bounded(depth: int, deep: bool) -> None:
    assert jsonsyntax.too_deep(nested(depth)) is deep
