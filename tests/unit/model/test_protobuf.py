"""Kubernetes' protobuf is read as the object that JSON would have carried."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.model import errors, protobuf, schema

TABLE = schema.load()

# What kubectl 1.33 sends for `create configmap x --from-literal=a=b`.
_CONFIG_MAP = bytes.fromhex(
    "6b387300 0a0f0a0276311209 436f6e666967 4d6170121b0a110a01781200 1a00"
    "22002a003200380042001206 0a016112 01621a002200"
)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, message: bytes) -> bytes:
    meta = field(1, field(1, api_version) + field(2, kind))
    return b"k8s\x00" + meta + field(2, message)


def test_what_kubectl_sends_is_read() -> None:
    assert protobuf.decode(TABLE, _CONFIG_MAP) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"a": "b"},
    }


def test_the_shapes_of_the_wire() -> None:
    """Inline types, lists, maps, quantities, int-or-strings, times, bytes, kept zeros."""
    limits = field(1, field(1, "cpu") + field(2, field(1, "500m")))
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(3, "http"))))
    port = field(2, 0) + field(3, 8080)
    container = field(1, "main") + field(3, "a") + field(3, "b") + field(6, port)
    container += field(8, limits) + field(10, probe)
    volume = field(1, "v") + field(2, field(19, field(4, 0)))
    spec = field(1, volume) + field(2, container) + field(4, 0) + field(5, -1)
    spec += field(11, 0)
    created = field(1, 1767225600)
    meta = field(1, "p") + field(8, created) + field(11, field(1, "k") + field(2, "v"))
    body = envelope("v1", "Pod", field(1, meta) + field(2, spec))
    assert protobuf.decode(TABLE, body) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"k": "v"},
        },
        "spec": {
            "volumes": [{"name": "v", "configMap": {"optional": False}}],
            "containers": [
                {
                    "name": "main",
                    "command": ["a", "b"],
                    "ports": [{"containerPort": 8080}],
                    "resources": {"limits": {"cpu": "500m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                }
            ],
            # A pointer's zero is a value, a plain field's zero is nothing (hostNetwork).
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": -1,
        },
    }


def test_bytes_travel_as_base64() -> None:
    body = envelope("v1", "Secret", field(2, field(1, "k") + field(2, b"\xff\x00")))
    data: Any = protobuf.decode(TABLE, body)["data"]
    assert base64.b64decode(data["k"]) == b"\xff\x00"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"k8s\x00",
        envelope("v1", "Nothing", b""),
        envelope("v1", "Pod", b"\x0a\xff"),
        envelope("v1", "Pod", field(1, field(1, b"\xff"))),
        envelope("v1", "Pod", varint(1 << 3)),
        envelope("v1", "Pod", b"\x0b"),
        envelope("v1", "Pod", field(1, 3)),
        envelope("v1", "Pod", b"\x08" + b"\xff" * 12),
    ],
    ids=["json", "empty", "kind", "short", "text", "end", "group", "type", "varint"],
)
def test_what_is_malformed_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(errors.StatusError) as caught:
        protobuf.decode(TABLE, body)
    assert caught.value.code == 400


@hypothesis.given(
    st.sampled_from(["Pod", "Service", "Secret", "Node", "Event"]), st.binary(max_size=80)
)
def test_any_bytes_are_read_or_refused(kind: str, data: bytes) -> None:
    body = envelope("v1", kind, data)
    # Only this error may come.
    with contextlib.suppress(errors.StatusError):
        assert protobuf.decode(TABLE, body)["kind"] == kind


def test_every_type_of_the_schema_has_its_numbers() -> None:
    """But those that are only ever read, our own, and definitions, which nobody may make."""
    rows = protobuf._rows()
    missing = [
        name
        for name in TABLE.kinds().values()
        if not name.endswith("List")
        and not name.startswith(("metrics.", "edgeorch.", "io.k8s.apiextensions"))
        and not protobuf._slots(name)
    ]
    assert not missing
    assert all(rows[slot.type] for name in rows for slot in protobuf._slots(name).values()
               if slot.type)  # fmt: skip
