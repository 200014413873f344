"""kubectl port-forward with real kubectl, by SPDY and inside a WebSocket; Python's by channels."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import re
from collections.abc import AsyncIterator

from tests.component.streams.conftest import Device

MEGABYTE = 1024 * 1024

ECHO = """
import asyncio, sys
async def serve(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    writer.close()
async def main():
    for port in sys.argv[1:]:
        await asyncio.start_server(serve, "127.0.0.1", int(port))
    print("listening", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

BULK = """
import asyncio, hashlib, sys
async def serve(reader, writer):
    kind, size = (await reader.readline()).split()
    if kind == b"down":
        block = bytes(range(256)) * 256
        for _ in range(int(size) // len(block)):
            writer.write(block)
            await writer.drain()
    else:
        digest = hashlib.sha256()
        while data := await reader.read(65536):
            digest.update(data)
        writer.write(digest.hexdigest().encode())
    writer.close()
async def main():
    await asyncio.start_server(serve, "::1", int(sys.argv[1]))
    print("listening", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def forwarded(
    device: Device, kubectl: pathlib.Path, *ports: str
) -> AsyncIterator[tuple[list[int], asyncio.subprocess.Process]]:
    """The local ports, in the order asked for."""
    process = await device.start(
        kubectl, "port-forward", "pod/p", *(f":{port}" for port in ports),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    found: dict[str, int] = {}
    async with asyncio.timeout(20):
        while len(found) < len(ports):
            line = (await process.stdout.readline()).decode()
            match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line)
            if match:
                found[match[2]] = int(match[1])
            else:
                assert "[::1]" in line, line
    try:
        yield [found[port] for port in ports], process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def echoed(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:

        async def feed() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        _, got = await asyncio.gather(feed(), reader.read(-1))
        return got
    finally:
        writer.close()


async def test_many_connections_at_once_over_several_ports(
    device: Device, kubectl: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    await device.serve("p", ECHO, "7001", "7002")
    async with forwarded(device, kubectl, "7001", "7002") as (ports, _), asyncio.timeout(60):
        sent = [os.urandom(50_000 + n) for n in range(50)]
        got = await asyncio.gather(*(echoed(ports[n % 2], data) for n, data in enumerate(sent)))
        assert got == [data + b"bye" for data in sent]
        # The streams of finished connections are forgotten: later ones work as well.
        assert await echoed(ports[0], b"again") == b"againbye"


async def test_bulk_goes_both_ways_whole(device: Device, one_of_each: pathlib.Path) -> None:
    await device.run("p", "sleep", "1000")
    await device.serve("p", BULK, "7003")
    size = 100 * MEGABYTE
    before = _resident()
    async with forwarded(device, one_of_each, "7003") as ((port,), _), asyncio.timeout(120):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"down %d\n" % size)
        digest, got = hashlib.sha256(), 0
        while data := await reader.read(MEGABYTE):
            digest.update(data)
            got += len(data)
        writer.close()
        block = bytes(range(256)) * 256
        wanted = hashlib.sha256()
        for _ in range(size // len(block)):
            wanted.update(block)
        assert (got, digest.hexdigest()) == (size, wanted.hexdigest())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"up %d\n" % size)
        for _ in range(size // len(block)):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
        assert await reader.read(-1) == wanted.hexdigest().encode()
        writer.close()
    assert _resident() - before < 24 * MEGABYTE


async def test_a_port_nobody_listens_on_is_told(device: Device, kubectl: pathlib.Path) -> None:
    pid = await device.run("p", "sleep", "1000")
    device.pin("p", pid)
    uid = device.store.get("pods", "default", "p").decode()["metadata"]["uid"]
    async with forwarded(device, kubectl, "7004") as ((port,), process):
        assert await echoed(port, b"") == b""
        assert process.stderr is not None
        async with asyncio.timeout(20):
            line = (await process.stderr.readline()).decode()
        assert f"error forwarding port 7004 to pod p, uid {uid}: " in line
        assert "dial tcp4 127.0.0.1:7004: connect: connection refused" in line


async def test_a_pod_that_does_not_run_is_refused(device: Device, kubectl: pathlib.Path) -> None:
    await device.store_pod("p", {"waiting": {"reason": "ContainerCreating"}})
    done = await device.kubectl(kubectl, "port-forward", "pod/p", ":80")
    assert done.code == 1
    assert "pod is not running. Current status=Pending" in done.err


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
