"""Logs and watches over WebSockets."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.component.api.conftest import Device, config_map
from tests.component.api.test_doors import running_pod

LOG = "/api/v1/namespaces/default/pods/p/log"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize(
    ("protocols", "messages"),
    [
        ((), [b"", b"one\n", b"\xfftwo"]),
        (("binary.k8s.io",), [b"", b"one\n", b"\xfftwo"]),
        (("other", "base64.binary.k8s.io"), ["", "b25lCg==", "/3R3bw=="]),
    ],
)
async def test_a_log_comes_in_messages(
    device: Device, protocols: tuple[str, ...], messages: list[bytes | str]
) -> None:
    await running_pod(device)
    device.logs.lines = [b"one\n", b"\xfftwo"]
    async with asyncio.timeout(20):
        async with device.client.ws_connect(device.url + LOG, protocols=protocols) as socket:
            assert [message.data async for message in socket] == messages
        assert socket.close_code == 1000
    assert device.logs.ended == 1


async def test_a_followed_log_ends_with_its_client(device: Device) -> None:
    await running_pod(device)
    device.logs.lines = [b"one\n"]
    url = f"{device.url}{LOG}?follow=true"
    async with asyncio.timeout(20):
        async with device.client.ws_connect(url) as socket:
            assert (await socket.receive()).data == b""
            assert (await socket.receive()).data == b"one\n"
        while not device.logs.ended:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "protocol", "code"), [(f"{LOG}?container=x", "", 400), (LOG, "other", 400)]
)
async def test_what_is_wrong_is_told_before_the_upgrade(
    device: Device, path: str, protocol: str, code: int
) -> None:
    await running_pod(device)
    device.logs.lines = [b"one\n"]
    protocols = [protocol] if protocol else []
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await device.client.ws_connect(device.url + path, protocols=protocols)
    assert caught.value.status == code


async def test_a_watch_sends_an_event_a_message(device: Device) -> None:
    for name in ("a", "b"):
        await device.call("POST", MAPS, config_map(name))
    url = f"{device.url}{MAPS}?watch=true"
    async with asyncio.timeout(20), device.client.ws_connect(url) as socket:
        for name in ("a", "b"):
            event = json.loads((await socket.receive()).data)
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
        await device.call("DELETE", f"{MAPS}/a")
        assert json.loads((await socket.receive()).data)["type"] == "DELETED"
        await device.server.close()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
