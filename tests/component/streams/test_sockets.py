"""WebSocket clients other than kubectl: the subprotocols that Python's and JavaScript's speak."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from tests.component.streams import test_port_forward
from tests.component.streams.conftest import Device

POD = "/api/v1/namespaces/default/pods"
EXEC = f"{POD}/p/exec?stdout=true&stderr=true&stdin=true"


def command(*words: str) -> str:
    return "".join(f"&command={word}" for word in words)


async def everything(socket: aiohttp.ClientWebSocketResponse, *, text: bool) -> dict[int, bytes]:
    """What came on each channel until the server closed."""
    found: dict[int, bytes] = {}
    async with asyncio.timeout(20):
        async for message in socket:
            if text:
                assert message.type is aiohttp.WSMsgType.TEXT
                channel, data = int(message.data[0]), base64.b64decode(message.data[1:])
            else:
                assert message.type is aiohttp.WSMsgType.BINARY
                channel, data = message.data[0], message.data[1:]
            found[channel] = found.get(channel, b"") + data
    return found


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])
async def test_binary_protocols(device: Device, protocol: str) -> None:
    await device.run("p", "sleep", "1000")
    url = device.url + EXEC + command("sh", "-c", "read x; echo got $x; echo no >%262; exit 3")
    async with device.client.ws_connect(url, protocols=[protocol]) as socket:
        assert socket.protocol == protocol
        await socket.send_bytes(b"\x00word\n")
        found = await everything(socket, text=False)
    assert (found[1], found[2]) == (b"got word\n", b"no\n")
    if protocol == "channel.k8s.io":
        assert found[3] == b"command terminated with non-zero exit code: exit status 3"
        return
    status = json.loads(found[3])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_base64_and_the_end_of_stdin_in_version_5(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    url = device.url + EXEC + command("cat")
    async with device.client.ws_connect(url, protocols=["v4.base64.channel.k8s.io"]) as socket:
        await socket.send_str("0" + base64.b64encode(b"\x00\xff\n").decode())
        first = await socket.receive()
        assert first.data == "1"  # the greeting
        second = await socket.receive()
        assert base64.b64decode(second.data[1:]) == b"\x00\xff\n"
    async with device.client.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
        await socket.send_bytes(b"\x00all")
        await socket.send_bytes(b"\xff\x00")
        found = await everything(socket, text=False)
    assert found[1] == b"all"
    assert json.loads(found[3])["status"] == "Success"


@pytest.mark.parametrize(
    ("path", "headers", "code", "message"),
    [
        ("p/exec?command=true&stdout=1", {}, 400, "Upgrade request required"),
        ("nobody/exec?command=true&stdout=1", {}, 404, 'pods "nobody" not found'),
        (
            "p/exec?command=true&stdout=1&container=x",
            {"Upgrade": "SPDY/3.1", "Connection": "Upgrade"},
            400,
            "container x is not valid for pod p",
        ),
        (
            "p/exec?stdout=1",
            {"Upgrade": "SPDY/3.1", "Connection": "Upgrade"},
            400,
            "you must specify at least one command for the container",
        ),
        (
            "p/exec?stdout=1&command=true",
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": "x" * 24,
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Protocol": "v9.channel.k8s.io",
            },
            400,
            "none of the WebSocket subprotocols is known: v9.channel.k8s.io",
        ),
    ],
    ids=["no upgrade", "no pod", "no container", "no command", "no protocol"],
)
async def test_bad_requests_are_statuses(
    device: Device, path: str, headers: dict[str, str], code: int, message: str
) -> None:
    await device.run("p", "sleep", "1000")
    async with device.client.get(f"{device.url}{POD}/{path}", headers=headers) as response:
        body = await response.json()
    assert (response.status, body["message"]) == (code, message)


async def test_a_stream_protocol_nobody_knows_is_refused_with_those_that_are(
    device: Device,
) -> None:
    await device.run("p", "sleep", "1000")
    headers = {
        "Upgrade": "SPDY/3.1",
        "Connection": "Upgrade",
        "X-Stream-Protocol-Version": "v9.channel.k8s.io",
    }
    url = f"{device.url}{POD}/p/exec?command=true&stdout=1"
    async with device.client.post(url, headers=headers) as response:
        assert response.status == 403
        accepted = response.headers.getall("X-Accepted-Stream-Protocol-Versions")
        assert "unable to negotiate protocol" in await response.text()
    assert accepted == [f"{v}channel.k8s.io" for v in ("v4.", "v3.", "v2.", "")]


async def test_without_credentials_no_stream_opens(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    headers: dict[str, Any] = {"Authorization": "Bearer wrong"}
    for sub in ("exec?command=true&stdout=1", "attach?stdout=1", "portforward?ports=80"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await device.client.ws_connect(f"{device.url}{POD}/p/{sub}", headers=headers)
        assert refused.value.status == 401


async def test_ports_over_channels(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    await device.serve("p", test_port_forward.ECHO, "7005")
    url = f"{device.url}{POD}/p/portforward?ports=7005,7006"
    async with device.client.ws_connect(url, protocols=["v4.channel.k8s.io"]) as socket:
        found: dict[int, bytes] = {}
        await socket.send_bytes(b"\x00hello")
        async with asyncio.timeout(20):
            while not (found.get(0, b"").endswith(b"hello") and len(found.get(3, b"")) > 2):
                message = await socket.receive_bytes()
                found[message[0]] = found.get(message[0], b"") + message[1:]
    first, second = (port.to_bytes(2, "little") for port in (7005, 7006))
    assert found[0] == first + b"hello"
    assert (found[1], found[2]) == (first, second)
    assert b"connection refused" in found[3].removeprefix(second)


async def test_all_end_when_the_server_does(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    url = device.url + EXEC + command("cat")
    async with device.client.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
        await socket.receive()
        async with asyncio.timeout(10):
            await device.server.close()
            message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
