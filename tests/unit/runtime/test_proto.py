"""The bindings: generated from the protos beside them, and true to the published API."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    ServiceDescriptor,
)

import edgeorch.runtime.pb
from tests.unit.runtime import facts

ROOT = Path(edgeorch.runtime.pb.__file__).parents[3]
GENERATED = ROOT / "edgeorch/runtime/pb"

_TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
}
# What stands for a foreign message → that message.
_STAND_INS = dict(
    line.split()[0].split("->") for line in facts.MESSAGES.splitlines() if "->" in line
)


def _files() -> list[str]:
    names = [found.name for found in pkgutil.iter_modules([str(GENERATED)])]
    return [name for name in names if name.endswith("_pb2")]


def _declared() -> Iterator[Descriptor | EnumDescriptor | ServiceDescriptor]:
    for name in _files():
        file = importlib.import_module(f"edgeorch.runtime.pb.{name}").DESCRIPTOR
        for message in file.message_types_by_name.values():
            yield from _nested(message)
        yield from file.enum_types_by_name.values()
        yield from file.services_by_name.values()


def _nested(message: Descriptor) -> Iterator[Descriptor]:
    if message.GetOptions().map_entry:
        return
    yield message
    for inner in message.nested_types:
        yield from _nested(inner)


def _type(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return "%" + ",".join(_type(inner) for inner in entry.fields)
    star = "*" if field.is_repeated else ""
    if entry is not None:
        return star + _STAND_INS.get(entry.full_name, entry.full_name)
    if field.enum_type is not None:
        return star + field.enum_type.full_name
    return star + _TYPES[field.type]


def _lines(text: str) -> dict[str, set[str]]:
    split = (line.split() for line in text.splitlines() if line.strip())
    return {name.partition("->")[0]: set(words) for name, *words in split}


def test_every_message_has_the_published_names_numbers_and_types() -> None:
    published = _lines(facts.MESSAGES)
    declared = {
        message.full_name: {
            f"{field.name}={field.number}:{_type(field)}" for field in message.fields
        }
        for message in _declared()
        if isinstance(message, Descriptor)
    }
    assert declared.keys() == published.keys()
    for name, fields in declared.items():
        assert fields <= published[name], name


def test_every_enum_has_the_published_values() -> None:
    declared = {
        enum.full_name: {f"{value.name}={value.number}" for value in enum.values}
        for enum in _declared()
        if isinstance(enum, EnumDescriptor)
    }
    assert declared == _lines(facts.ENUMS)


def test_every_service_has_the_published_methods() -> None:
    declared = {
        service.full_name: {_method(method) for method in service.methods}
        for service in _declared()
        if isinstance(service, ServiceDescriptor)
    }
    assert declared == _lines(facts.METHODS)


def _method(method: object) -> str:
    streams = (method.client_streaming, method.server_streaming)  # type: ignore[attr-defined]
    name = str(method.name)  # type: ignore[attr-defined]
    if any(streams):
        return f"{name}={'~' if streams[0] else ''}>{'~' if streams[1] else ''}"
    answer = method.output_type.full_name  # type: ignore[attr-defined]
    return f"{name}=Empty" if answer == "google.protobuf.Empty" else name


def test_the_generated_files_are_those_of_the_protos(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    subprocess.run(
        [ROOT / "scripts/gen_proto", str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    fresh = tmp_path / "edgeorch/runtime/pb"

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.py*")}

    assert content(fresh) == content(GENERATED)


def test_the_adapter_is_cheap_to_import() -> None:
    """In kB of resident memory above asyncio and JSON, which are there anyway."""
    script = (
        "import asyncio, ssl, json, logging, dataclasses, edgeorch.lib.json\n"
        "def rss():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(line for line in lines if 'VmRSS' in line).split()[1])\n"
        "before = rss()\n"
        "import edgeorch.runtime.containers, edgeorch.runtime.events, edgeorch.runtime.execs\n"
        "import edgeorch.runtime.images, edgeorch.runtime.leases, edgeorch.runtime.logs\n"
        "import edgeorch.runtime.unpack\n"
        "print(rss() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10_500
