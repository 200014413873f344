"""YAML bodies are read as Kubernetes (go-yaml, YAML 1.1) reads them, and errors read like its."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import json, yaml

SCALARS: list[tuple[str, Any]] = [
    ("yes", True), ("off", False), ("True", True), ("~", None), ("null", None), ("", None),
    ("0777", 511), ("0o17", 15), ("0x1F", 31), ("0b101", 5), ("1_000", 1000), ("-5", -5),
    ("1e3", 1000.0), ("1.5", 1.5), (".5", 0.5), ("12:30", "12:30"), ("2001-01-01", "2001-01-01"),
    ("1.2.3", "1.2.3"), ("8080/tcp", "8080/tcp"), ("'5'", "5"), ('"yes"', "yes"),
    ("!!str 5", "5"), ("08", 8.0), ("500m", "500m"), ("+", "+"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text for text, _ in SCALARS])
def test_scalars(text: str, value: Any) -> None:
    found, _ = yaml.decode(f"a: {text}\n".encode())
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1\n b: 2\n", "yaml: line 2: mapping values are not allowed in this context"),
        (b"a: b: c\n", "yaml: mapping values are not allowed in this context"),
        (b"x: [1, 2\n", "yaml: line 1: did not find expected ',' or ']'"),
        (b"a: &x [1]\nb: *y\n", "yaml: unknown anchor 'y' referenced"),
        (b"a:\n\t- b\n", "yaml: line 2: found character that cannot start any token"),
        (b"a: \xff\n", "yaml: invalid leading UTF-8 octet"),
        (b"[" * 5000, "yaml: exceeded max depth"),
    ],
)
def test_faults_read_as_go_yaml_tells_them(text: bytes, message: str) -> None:
    with pytest.raises(yaml.YamlError) as caught:
        yaml.decode(text)
    assert str(caught.value) == message


def test_duplicate_keys_are_told_with_their_line_and_the_last_wins() -> None:
    found, duplicates = yaml.decode(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert found == {"a": 3, "b": {"c": 2}}
    assert duplicates == [
        'line 4: key "c" already set in map',
        'line 5: key "a" already set in map',
    ]


def test_anchors_and_merge_keys() -> None:
    text = b"base: &b {x: 1, z: 2}\nuse:\n  <<: *b\n  z: 3\nlist: [*b]\n"
    found, duplicates = yaml.decode(text)
    assert found["use"] == {"x": 1, "z": 3}
    assert found["list"] == [{"x": 1, "z": 2}]
    assert duplicates == []


def test_aliases_cannot_grow_without_bound() -> None:
    lines = [b"- &a [1,1,1,1,1,1,1,1,1,1]"]
    for letter in range(ord("b"), ord("k")):
        inner = b",".join([b"*" + bytes([letter - 1])] * 10)
        lines.append(b"- &" + bytes([letter]) + b" [" + inner + b"]")
    with pytest.raises(yaml.YamlError, match="excessive aliasing"):
        yaml.decode(b"\n".join(lines))


def test_only_the_first_document_is_read() -> None:
    assert yaml.decode(b"a: 1\n---\nb: 2\n")[0] == {"a": 1}
    assert yaml.decode(b"")[0] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=15,
)


@given(JSON)
def test_json_is_yaml(value: Any) -> None:
    text = json.encode(value)
    # YAML forbids raw control characters and reads U+0085 and the like as line breaks.
    if text.decode().isprintable():
        assert yaml.decode(text)[0] == value
