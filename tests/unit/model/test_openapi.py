"""The OpenAPI documents are made from the kinds and hold what kubectl looks for in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.model import kinds, openapi, openapi_v2, operations, schema

TABLE = schema.load()
REGISTRY = kinds.Registry()
GROUPS = [(group, version) for group, found in REGISTRY.groups().items() for version in found]


def v3(group: str, version: str) -> Any:
    return json.decode(openapi.document(REGISTRY, TABLE, group, version))


V2 = json.decode(openapi_v2.json(REGISTRY, TABLE))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for item in node.values():
            yield from references(item)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_the_index_names_every_group_version_with_a_digest() -> None:
    paths = openapi.index(REGISTRY)["paths"]
    assert set(paths) >= {"api/v1", "apis/apps/v1", "apis/discovery.k8s.io/v1"}
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url == "/openapi/v3/apis/apps/v1?hash=" + openapi.digest(REGISTRY, TABLE, "apps", "v1")


def test_the_digest_follows_the_kinds() -> None:
    fewer = kinds.Registry((kinds.POD,))
    assert openapi.digest(fewer, TABLE, "", "v1") != openapi.digest(REGISTRY, TABLE, "", "v1")
    assert openapi.digest(fewer, TABLE, "", "v1") == openapi.digest(fewer, TABLE, "", "v1")
    assert openapi_v2.digest(fewer, TABLE) != openapi_v2.digest(REGISTRY, TABLE)


def test_the_digest_follows_kinds_that_arrive_at_run_time() -> None:
    thing = kinds.Kind("x", "v1", "Thing", "things", "thing", True, verbs=("get",))
    registry = kinds.Registry((thing,))
    table = schema.Schema({}, {})
    seen = set()
    for name in ("a", "b"):
        fields = {name: schema.Field(name, table.shape("s"))}
        table.add("x/v1", "Thing", schema.Struct("x.v1.Thing", fields))
        seen.add(openapi.digest(registry, table, "x", "v1"))
    assert len(seen) == 2


@pytest.mark.parametrize(("group", "version"), GROUPS)
def test_every_reference_resolves(group: str, version: str) -> None:
    document = v3(group, version)
    known = {"#/components/schemas/" + name for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    assert len(known) == len(document["components"]["schemas"])


def test_every_reference_of_v2_resolves() -> None:
    assert set(references(V2)) <= {"#/definitions/" + name for name in V2["definitions"]}


def test_a_version_that_is_not_served_has_no_document() -> None:
    with pytest.raises(KeyError):
        openapi.document(REGISTRY, TABLE, "apps", "v2")


PATCHED = [kind for kind in REGISTRY.served() if "patch" in kind.verbs]


@pytest.mark.parametrize("kind", PATCHED, ids=lambda kind: f"{kind.resource}/{kind.version}")
def test_every_patch_says_that_field_validation_and_dry_run_are_there(kind: kinds.Kind) -> None:
    """kubectl looks for these parameters on the PATCH of the kind before it relies on them."""
    wanted = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    for document in (v3(kind.group, kind.version), V2):
        patches = [
            item["patch"]
            for item in document["paths"].values()
            if item.get("patch", {}).get("x-kubernetes-group-version-kind") == wanted
        ]
        assert patches
        for patch in patches:
            names = {parameter["name"] for parameter in patch["parameters"]}
            assert names >= {"fieldValidation", "dryRun", "fieldManager"}


def test_schemas_carry_what_clients_merge_by() -> None:
    found = v3("apps", "v1")["components"]["schemas"]
    assert found["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"] == [
        {"group": "apps", "version": "v1", "kind": "Deployment"}
    ]
    containers = found["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["type"] == "array"
    assert containers["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["x-kubernetes-list-type"] == "map"
    assert found["io.k8s.api.core.v1.PodSpec"]["required"] == ["containers"]
    selector = found["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]
    assert selector["x-kubernetes-map-type"] == "atomic"


def test_paths_follow_scope_and_verbs() -> None:
    core, apps = v3("", "v1")["paths"], v3("apps", "v1")["paths"]
    assert set(core["/api/v1/nodes/{name}"]) == {"get", "put", "patch", "delete", "parameters"}
    assert set(core["/api/v1/pods"]) == {"get", "parameters"}
    pods = core["/api/v1/namespaces/{namespace}/pods"]
    assert [pods[method]["x-kubernetes-action"] for method in ("get", "post", "delete")] == [
        "list",
        "post",
        "deletecollection",
    ]
    assert "delete" not in core["/api/v1/namespaces"]
    scale = apps["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"]
    assert scale["x-kubernetes-group-version-kind"]["kind"] == "Scale"
    assert [p["name"] for p in pods["parameters"]] == ["namespace"]


def test_operation_ids_are_unique() -> None:
    names = [op.identifier for kind in REGISTRY for op in operations.of_kind(kind)]
    assert sorted(names) == sorted(set(names))


def wire(data: bytes) -> dict[int, list[Any]]:
    """A protobuf message as field number to values; lengths and numbers undone."""
    at, found = 0, dict[int, list[Any]]()

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        key = number()
        length = number()
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(data[at : at + length])
            at += length
        else:
            found.setdefault(key >> 3, []).append(length)
    assert at == len(data)
    return found


def named(message: bytes, number: int) -> dict[str, bytes]:
    entries = (wire(entry) for entry in wire(message).get(number, ()))
    return {entry[1][0].decode(): entry[2][0] if 2 in entry else b"" for entry in entries}


def extensions(message: bytes, number: int) -> dict[str, Any]:
    return {name: json.decode(wire(any_)[2][0]) for name, any_ in named(message, number).items()}


def schema_of(message: bytes) -> Any:
    """openapi.v2.Schema back to JSON, by the published field numbers."""
    parts = wire(message)
    found: dict[str, Any] = {}
    for key, number in (("$ref", 1), ("format", 2), ("description", 4)):
        if number in parts:
            found[key] = parts[number][0].decode()
    if 19 in parts:
        found["required"] = [name.decode() for name in parts[19]]
    if 21 in parts:
        found["additionalProperties"] = schema_of(wire(parts[21][0])[1][0])
    if 22 in parts:
        found["type"] = wire(parts[22][0])[1][0].decode()
    if 23 in parts:
        found["items"] = schema_of(wire(parts[23][0])[1][0])
    if 25 in parts:
        fields = named(parts[25][0], 1)
        found["properties"] = {name: schema_of(field) for name, field in fields.items()}
    return found | extensions(message, 31)


PROTOBUF = wire(openapi_v2.protobuf(REGISTRY, TABLE))


def test_protobuf_says_the_same_definitions_as_json() -> None:
    assert PROTOBUF[1] == [b"2.0"]
    found = {name: schema_of(node) for name, node in named(PROTOBUF[9][0], 1).items()}
    assert found == V2["definitions"]


def test_protobuf_says_the_same_operations_as_json() -> None:
    numbers = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
    paths = named(PROTOBUF[8][0], 2)
    assert set(paths) == set(V2["paths"])
    for path, message in paths.items():
        item = wire(message)
        for method, number in numbers.items():
            assert (number in item) == (method in V2["paths"][path])
            if number in item:
                expected = V2["paths"][path][method]
                found = wire(item[number][0])
                assert found[5][0].decode() == expected["operationId"]
                assert [name.decode() for name in found[7]] == expected["consumes"]
                told = extensions(item[number][0], 13)
                assert told == {key: expected[key] for key in expected if key.startswith("x-")}
                assert [parameter(p) for p in found.get(8, ())] == [
                    (p["name"], p["in"], p.get("type")) for p in expected["parameters"]
                ]


def parameter(message: bytes) -> tuple[str, str, str | None]:
    inner = wire(wire(message)[1][0])
    if 1 in inner:
        body = wire(inner[1][0])
        return body[2][0].decode(), body[3][0].decode(), None
    plain = wire(inner[2][0])
    at = 6 if 3 in plain else 5
    found = wire(next(iter(plain.values()))[0])
    return found[4][0].decode(), found[2][0].decode(), found[at][0].decode()
