"""Watches tell exactly what changed, from any point, in any selection, and end cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from edgeorch.api import flow, watches
from tests.component.api import conftest
from tests.component.api.conftest import Device, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


class Watching:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(20):
            line = await self.response.content.readline()
        assert line, "the watch has ended"
        event = json.loads(line)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        found = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"]["name"]) for kind, obj in found]

    async def rest(self) -> bytes:
        async with asyncio.timeout(20):
            return await self.response.read()


@contextlib.asynccontextmanager
async def watching(device: Device, query: str, **headers: str) -> AsyncIterator[Watching]:
    url = f"{device.url}{MAPS}?watch=true&{query}"
    async with device.client.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Watching(response)


async def make(device: Device, name: str, labels: dict[str, str] | None = None) -> str:
    code, obj = await device.call("POST", MAPS, config_map(name, labels))
    assert code == 201
    return str(obj["metadata"]["resourceVersion"])


async def label(device: Device, name: str, value: str | None) -> None:
    patch = {"metadata": {"labels": {"tier": value}}}
    media = "application/merge-patch+json"
    assert (await device.call("PATCH", f"{MAPS}/{name}", patch, media=media))[0] == 200


@pytest.mark.parametrize("version", ["", "0"], ids=["unset", "any"])
async def test_without_a_version_the_present_state_comes_first(
    device: Device, version: str
) -> None:
    await make(device, "a")
    async with watching(device, f"resourceVersion={version}") as events:
        assert await events.names(1) == [("ADDED", "a")]
        await make(device, "b")
        assert await events.names(1) == [("ADDED", "b")]


async def test_from_a_version_only_later_changes_are_told(device: Device) -> None:
    await make(device, "a")
    version = await make(device, "b")
    await label(device, "a", "front")
    await device.call("DELETE", f"{MAPS}/b")
    async with watching(device, f"resourceVersion={version}") as events:
        assert await events.names(2) == [("MODIFIED", "a"), ("DELETED", "b")]


async def test_entering_and_leaving_a_selection_are_added_and_deleted(device: Device) -> None:
    await make(device, "a", {"tier": "front"})
    async with watching(device, "labelSelector=tier%3Dfront") as events:
        assert await events.names(1) == [("ADDED", "a")]
        await make(device, "b")
        await label(device, "b", "front")
        assert await events.names(1) == [("ADDED", "b")]
        await label(device, "b", "back")
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["labels"]) == ("DELETED", {"tier": "front"})
        assert obj["metadata"]["resourceVersion"] == str(device.store.version)
        await device.call("DELETE", f"{MAPS}/b")
        await device.call("DELETE", f"{MAPS}/a")
        assert await events.names(1) == [("DELETED", "a")]


async def test_a_field_selector_on_the_name_picks_one_object(device: Device) -> None:
    async with watching(device, "fieldSelector=metadata.name%3Dwanted") as events:
        await make(device, "other")
        await make(device, "wanted")
        assert await events.names(1) == [("ADDED", "wanted")]


async def test_a_streaming_list_ends_with_its_bookmark(device: Device) -> None:
    await make(device, "a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(device, query) as events:
        assert await events.names(1) == [("ADDED", "a")]
        kind, obj = await events.next()
        assert kind == "BOOKMARK"
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert obj["metadata"]["resourceVersion"] == str(device.store.version)
        assert (obj["kind"], obj["apiVersion"]) == ("ConfigMap", "v1")
        await make(device, "b")
        assert await events.names(1) == [("ADDED", "b")]


async def test_a_quiet_watch_is_told_how_far_it_is(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "BOOKMARK_EVERY", 0.05)
    async with watching(device, "allowWatchBookmarks=true") as events:
        await device.store.create("namespaces", {"kind": "Namespace", "metadata": {"name": "x"}})
        kind, obj = await events.next()
        while obj["metadata"]["resourceVersion"] != str(device.store.version):
            kind, obj = await events.next()
        assert kind == "BOOKMARK"


async def test_history_before_the_start_or_of_the_future_is_410(tmp_path: pathlib.Path) -> None:
    async with conftest.started(tmp_path) as device:
        version = await make(device, "a")
    async with conftest.started(tmp_path) as device:
        for since in (version, device.store.version + 1000):
            status, event = await device.call("GET", f"{MAPS}?watch=true&resourceVersion={since}")
            told = event["object"]
            assert (status, event["type"]) == (200, "ERROR")
            assert (told["kind"], told["reason"], told["code"]) == ("Status", "Expired", 410)


async def test_a_watch_that_falls_behind_is_told_410_and_ends(device: Device) -> None:
    async with watching(device, "resourceVersion=") as events:
        big = "x" * 100_000
        for number in range(120):
            obj = config_map(f"c{number}", value=big)
            obj["metadata"]["namespace"] = "default"
            await device.store.create("configmaps", obj)
        told = [json.loads(line) for line in (await events.rest()).splitlines()]
        assert told[-1]["type"] == "ERROR"
        assert told[-1]["object"]["code"] == 410


async def test_a_timeout_ends_the_watch_cleanly(device: Device) -> None:
    async with watching(device, "timeoutSeconds=1") as events:
        assert await events.rest() == b""


async def test_tables_are_watched_row_by_row(device: Device) -> None:
    accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
    async with watching(device, "", Accept=accept) as events:
        await make(device, "a")
        kind, table = await events.next()
        assert (kind, table["kind"]) == ("ADDED", "Table")
        (row,) = table["rows"]
        assert row["cells"][:2] == ["a", 0]
        assert row["object"]["kind"] == "PartialObjectMetadata"


async def test_closing_the_server_ends_watches_cleanly(device: Device) -> None:
    async with watching(device, "") as events:
        async with asyncio.timeout(2):
            await device.server.close()
        assert await events.rest() == b""


async def test_a_client_that_goes_leaves_nothing_behind(device: Device) -> None:
    ring = device.store._history.of("configmaps")
    async with watching(device, ""):
        assert len(ring._watches) == 1
    async with asyncio.timeout(10):
        while ring._watches:
            await asyncio.sleep(0.01)


async def test_more_watches_than_allowed_are_asked_to_wait(tmp_path: pathlib.Path) -> None:
    limits = flow.Limits(long_running=1)
    async with conftest.started(tmp_path, limits) as device, watching(device, ""):
        status, body = await device.call("GET", f"{MAPS}?watch=true")
        assert (status, body["reason"]) == (429, "TooManyRequests")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch"),
        ("resourceVersionMatch=NotOlderThan", "is forbidden for watch unless sendInitialEvents"),
    ],
    ids=["initial-events-need-a-match", "a-match-needs-initial-events"],
)
async def test_contradictory_options_are_refused(device: Device, query: str, told: str) -> None:
    status, body = await device.call("GET", f"{MAPS}?watch=true&{query}")
    assert status == 422
    assert told in body["message"]
