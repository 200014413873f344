"""Clients that vanish, fall silent or break the protocol leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import pathlib

import pytest

from edgeorch.api import links, remote_commands
from edgeorch.runtime import execs
from edgeorch.wire import spdy
from tests.component.runtime import watching
from tests.component.streams.conftest import PROGRAMS, Device
from tests.component.streams.test_sockets import EXEC, POD, command


async def runs(device: Device, words: bytes) -> bool:
    """Whether the container of pod p has a process with these in its command line."""
    runtime = device.runtime
    commands = execs.Execs(runtime.client, runtime.containers, runtime.stdio)
    listing = execs.Command(["sh", "-c", "cat /proc/[0-9]*/cmdline; true"])
    result = await commands.run(device.containers["p"], listing, limit=20)
    await commands.close()
    return words in result.output


async def ended(device: Device, words: bytes) -> None:
    async def gone() -> bool:
        return not await runs(device, words)

    await watching.until(gone)


async def test_a_client_that_pinged_and_fell_silent_is_given_up(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LOOK", 0.05)
    monkeypatch.setattr(links, "SILENCE", 0.5)
    await device.run("p", "sleep", "1000")
    url = device.url + EXEC + command("sleep", "4321")
    quiet = await device.client.ws_connect(url, protocols=["v5.channel.k8s.io"], autoping=False)
    other = device.url + EXEC + command("sleep", "8765")
    pinging = await device.client.ws_connect(other, autoping=False)
    await quiet.ping()
    async with asyncio.timeout(20):
        while await runs(device, b"4321"):
            await pinging.ping()
            await asyncio.sleep(0.1)
    assert await runs(device, b"8765")
    await pinging.close()
    await ended(device, b"8765")
    await quiet.close()


async def test_a_client_killed_while_its_command_does_not_read_is_noticed(
    device: Device, monkeypatch: pytest.MonkeyPatch, kubectl: pathlib.Path
) -> None:
    # Nobody reads the connection then: only the socket's own state tells. (A client with more to
    # send than all buffers hold cannot even say goodbye: the kernel gives it up after minutes.)
    monkeypatch.setattr(links, "LOOK", 0.05)
    await device.run("p", "sleep", "1000")
    source = device.directory / "source"
    source.write_bytes(bytes(540_000))
    with source.open("rb") as file:
        process = await device.start(kubectl, "exec", "-i", "p", "--", "sleep", "4321", stdin=file)

        async def started() -> bool:
            return await runs(device, b"4321")

        await watching.until(started)
        process.kill()
        await process.wait()
    await ended(device, b"4321")


async def test_streams_that_are_never_opened_end_the_connection(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_commands, "STREAM_CREATION", 0.3)
    monkeypatch.setattr(links, "LINGER", 0.3)
    await device.run("p", "sleep", "1000")
    reader, writer = await upgraded(
        device, f"{POD}/p/exec?command=true&stdout=1", "v4.channel.k8s.io"
    )
    encoder = spdy.Encoder()
    writer.write(encoder.encode(spdy.SynStream(1, {"streamtype": "error"})))
    async with asyncio.timeout(10):
        frames = list(spdy.Decoder().feed(await reader.read(-1)))
    assert frames == [spdy.SynReply(1)]
    writer.close()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n" * 9, b"\x80\x02\0\1\0\0\0\0", b"\x80\x03\0\1\0\xff\xff\xff"]
)
async def test_what_is_no_spdy_ends_only_its_connection(
    device: Device, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(links, "LINGER", 0.1)
    await device.run("p", "sleep", "1000")
    reader, writer = await upgraded(device, f"{POD}/p/portforward", "portforward.k8s.io")
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(10):
        assert await reader.read(-1) == b""
    writer.close()
    code, _ = await get(device, f"{POD}/p")
    assert code == 200


async def test_pings_are_answered_and_bad_streams_reset(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    reader, writer = await upgraded(device, f"{POD}/p/portforward", "portforward.k8s.io")
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    bad = [
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "x"},
        {"streamtype": "other", "port": "80"},
        {"port": "80"},
        {},
    ]
    for number, headers in enumerate(bad):
        writer.write(encoder.encode(spdy.SynStream(2 * number + 1, headers)))
    writer.write(encoder.encode(spdy.Ping(1)))
    found: list[spdy.Frame] = []
    async with asyncio.timeout(10):
        while len(found) < len(bad) + 1:
            found += decoder.feed(await reader.read(4096))
    assert found == [
        *(spdy.RstStream(2 * number + 1, spdy.PROTOCOL_ERROR) for number in range(len(bad))),
        spdy.Ping(1),
    ]
    writer.close()


async def test_nothing_is_left_after_many_streams(device: Device) -> None:
    await device.run("p", "sleep", "1000")
    await device.kubectl(PROGRAMS[0], "exec", "p", "--", "true")
    before = len(os.listdir("/proc/self/fd"))
    url = device.url + EXEC + command("cat")
    for _ in range(10):
        async with device.client.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
            await socket.send_bytes(b"\x00x")
            await socket.receive()
        await device.kubectl(PROGRAMS[0], "exec", "p", "--", "true")

    async def settled() -> bool:
        return len(os.listdir("/proc/self/fd")) <= before + 2

    await watching.until(settled)
    await ended(device, b"cat\0/x")


async def get(device: Device, path: str) -> tuple[int, bytes]:
    async with device.client.get(device.url + path) as response:
        return response.status, await response.read()


async def upgraded(
    device: Device, path: str, protocol: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A SPDY connection by way of the device's own socket."""
    reader, writer = await asyncio.open_unix_connection(device.directory / "api.sock")
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert f"X-Stream-Protocol-Version: {protocol}".encode() in head
    return reader, writer
