"""The schema table is what the generator makes of the published OpenAPI, and reads as it says."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from edgeorch.model import explain, kinds, schema

ROOT = pathlib.Path(schema.__file__).parents[2]


def test_the_table_is_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "gen_schema", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


LISTED = [kind for kind in kinds.Registry().served() if "list" in kind.verbs]


@pytest.mark.parametrize("kind", LISTED, ids=lambda kind: f"{kind.resource}/{kind.version}")
def test_every_served_kind_and_its_list_has_a_type(kind: kinds.Kind) -> None:
    table = schema.load()
    fields = table.type_of(kind.api_version, kind.kind).fields
    assert fields["metadata"].shape.struct.go_name == "ObjectMeta"
    items = table.type_of(kind.api_version, kind.kind + "List").fields["items"]
    assert items.required
    assert items.shape.fields() is table.type_of(kind.api_version, kind.kind)


def test_merge_keys_and_list_types_are_kept() -> None:
    spec = schema.load().struct("core.v1.PodSpec").fields
    containers = spec["containers"]
    assert (containers.list_type, containers.list_keys) == ("map", ("name",))
    assert (containers.strategy, containers.merge_key) == (("merge",), "name")
    assert containers.required
    assert spec["volumes"].strategy == ("merge", "retainKeys")
    assert spec["nodeSelector"].list_type == "atomic"
    ports = schema.load().struct("core.v1.ServiceSpec").fields["ports"]
    assert (ports.list_keys, ports.merge_key) == (("port", "protocol"), "port")


@pytest.mark.parametrize(
    ("type_name", "field", "kind", "go"),
    [
        ("apps.v1.DeploymentSpec", "replicas", "int32", "int32"),
        ("core.v1.PodSpec", "containers", "array", "[]v1.Container"),
        ("core.v1.ResourceRequirements", "limits", "map", "v1.ResourceList"),
        ("core.v1.Secret", "data", "map", "map[string][]uint8"),
        ("core.v1.ServicePort", "targetPort", "int-or-string", "intstr.IntOrString"),
        ("meta.v1.ObjectMeta", "creationTimestamp", "time", "v1.Time"),
        ("core.v1.PodSpec", "securityContext", "ref", "v1.PodSecurityContext"),
    ],
)
def test_types_are_told(type_name: str, field: str, kind: str, go: str) -> None:
    shape = schema.load().struct(type_name).fields[field].shape
    assert (shape.kind, shape.go) == (kind, go)


def test_every_type_decodes_and_every_reference_is_there() -> None:
    table = schema.load()
    seen: set[str] = set()
    waiting = [table.type_of(*key.split()) for key in table.kinds()]
    while waiting:
        struct = waiting.pop()
        if struct.name in seen:
            continue
        seen.add(struct.name)
        inner = (field.shape.fields() for field in struct.fields.values())
        waiting.extend(found for found in inner if found is not None)
    assert "core.v1.Container" in seen


def test_kinds_that_arrive_at_run_time_fit_in() -> None:
    table = schema.Schema({}, {"x.v1.Base": "name!:s"})
    fields = {"base": schema.Field("base", table.shape("@x.v1.Base"))}
    table.add("x/v1", "Thing", schema.Struct("x.v1.Thing", fields))
    inner = table.type_of("x/v1", "Thing").fields["base"].shape.struct
    assert inner.fields["name"].required
    table.remove("x/v1", "Thing")
    assert not table.has("x/v1", "Thing")


@pytest.mark.parametrize("name", explain.told())
def test_every_text_tells_of_a_field_that_exists(name: str) -> None:
    table = schema.load()
    owner, _, field = name.rpartition(".")
    if field[0].isupper():
        assert table.struct(name).name == name
        assert explain.of_type(name)
    else:
        assert field in table.struct(owner).fields
        assert explain.of_field(owner, field)
