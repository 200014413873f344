"""Lists: selected, in pages, at a version, as tables and as metadata."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.component.api import conftest
from tests.component.api.conftest import Device, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


async def fill(device: Device, count: int) -> None:
    for number in range(count):
        obj = config_map(f"c{number}", {"parity": "odd" if number % 2 else "even"})
        assert (await device.call("POST", MAPS, obj))[0] == 201


def names(body: Any) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def test_a_list_is_a_list_of_its_kind(device: Device) -> None:
    await fill(device, 2)
    status, body = await device.call("GET", MAPS)
    assert status == 200
    assert (body["kind"], body["apiVersion"], names(body)) == ("ConfigMapList", "v1", ["c0", "c1"])
    assert body["metadata"] == {"resourceVersion": str(device.store.version)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("labelSelector=parity%3Dodd", ["c1", "c3"]),
        ("labelSelector=parity+in+(even),parity", ["c0", "c2"]),
        ("fieldSelector=metadata.name%3Dc2", ["c2"]),
        ("fieldSelector=metadata.name!%3Dc2&labelSelector=parity%3Deven", ["c0"]),
    ],
)
async def test_selectors_select(device: Device, query: str, expected: list[str]) -> None:
    await fill(device, 4)
    assert names((await device.call("GET", f"{MAPS}?{query}"))[1]) == expected


async def test_pages_show_the_state_of_the_first_page(device: Device) -> None:
    await fill(device, 5)
    _, first = await device.call("GET", f"{MAPS}?limit=2")
    assert names(first) == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    version, token = first["metadata"]["resourceVersion"], first["metadata"]["continue"]
    # What happens between pages belongs to a later list.
    await device.call("DELETE", f"{MAPS}/c3")
    await device.call("POST", MAPS, config_map("c22"))
    _, second = await device.call("GET", f"{MAPS}?limit=2&continue={token}")
    assert (names(second), second["metadata"]["resourceVersion"]) == (["c2", "c3"], version)
    token = second["metadata"]["continue"]
    _, third = await device.call("GET", f"{MAPS}?limit=2&continue={token}")
    assert names(third) == ["c4"]
    assert "continue" not in third["metadata"]


async def test_an_exact_version_is_the_state_of_then(device: Device) -> None:
    await fill(device, 2)
    version = device.store.version
    await device.call("DELETE", f"{MAPS}/c0")
    match = "resourceVersionMatch=Exact"
    _, body = await device.call("GET", f"{MAPS}?resourceVersion={version}&{match}")
    assert names(body) == ["c0", "c1"]


async def test_a_version_before_the_start_has_expired(tmp_path: pathlib.Path) -> None:
    async with conftest.started(tmp_path) as device:
        await fill(device, 3)
        _, page = await device.call("GET", f"{MAPS}?limit=1")
    version, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    queries = (f"resourceVersion={version}&resourceVersionMatch=Exact", f"continue={token}")
    async with conftest.started(tmp_path) as device:
        for query in queries:
            status, body = await device.call("GET", f"{MAPS}?{query}")
            assert (status, body["reason"]) == (410, "Expired")


async def test_the_future_is_a_timeout(device: Device) -> None:
    for path in (MAPS, "/api/v1/namespaces/default"):
        status, body = await device.call("GET", f"{path}?resourceVersion=99999999999")
        assert (status, body["reason"]) == (504, "Timeout")
        assert body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize("include", ["None", "Metadata", "Object"])
async def test_a_table_carries_what_is_asked_for(device: Device, include: str) -> None:
    await fill(device, 1)
    _, table = await device.call("GET", f"{MAPS}?includeObject={include}", Accept=TABLE)
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    (row,) = table["rows"]
    assert row["cells"][0] == "c0"
    kinds = {"None": None, "Metadata": "PartialObjectMetadata", "Object": "ConfigMap"}
    assert (row["object"] or {}).get("kind") == kinds[include]


async def test_metadata_only(device: Device) -> None:
    await fill(device, 1)
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    _, body = await device.call("GET", MAPS, Accept=accept)
    assert body["kind"] == "PartialObjectMetadataList"
    assert set(body["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_yaml_is_spoken(device: Device) -> None:
    import yaml

    await fill(device, 1)
    headers = {"Accept": "application/yaml"}
    async with device.client.get(device.url + MAPS, headers=headers) as response:
        assert response.content_type == "application/yaml"
        body = yaml.safe_load(await response.text())
    assert names(body) == ["c0"]


@pytest.mark.parametrize("zipped", [True, False], ids=["gzip", "plain"])
async def test_a_big_list_arrives_whole(device: Device, zipped: bool) -> None:
    for number in range(9):
        obj = config_map(f"c{number}", value=str(number) * 70_000)
        assert (await device.call("POST", MAPS, obj))[0] == 201
    headers = {"Accept-Encoding": "gzip" if zipped else "identity"}
    async with device.client.get(device.url + MAPS, headers=headers) as response:
        assert response.headers.get("Content-Encoding", "") == ("gzip" if zipped else "")
        body = json.loads(await response.read())
    assert [item["data"]["value"][0] for item in body["items"]] == list("012345678")


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ("labelSelector=a+b", 400, "unable to parse requirement"),
        ("fieldSelector=spec.x%3Dy", 400, "is not a known field selector"),
        ("limit=many", 400, 'parsing "many": invalid syntax'),
        ("continue=!!!", 400, "continue key is not valid"),
        ("resourceVersion=abc", 400, 'parsing "abc": invalid syntax'),
        ("resourceVersionMatch=Exact", 422, "forbidden unless resourceVersion is provided"),
        ("includeObject=Some", 400, "unrecognized includeObject value"),
    ],
)
async def test_bad_options_are_explained(device: Device, query: str, code: int, told: str) -> None:
    status, body = await device.call("GET", f"{MAPS}?{query}")
    assert (status, body["kind"]) == (code, "Status")
    assert told in body["message"]


async def test_an_unacceptable_media_type_is_406(device: Device) -> None:
    status, body = await device.call("GET", MAPS, Accept="application/vnd.kubernetes.protobuf")
    assert (status, body["reason"]) == (406, "NotAcceptable")
