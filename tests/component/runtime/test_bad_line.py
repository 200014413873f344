"""A large image over a line that breaks, stalls and damages, while everybody is restarted."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgeorch.runtime import content
from edgeorch.wire import oci
from tests.component.runtime import daemon, registries
from tests.component.runtime.conftest import Runtime, runtime_of
from tests.system import lab as labs

MIB = 1 << 20
LAYERS = 4


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Registry]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Runtime]:
    """A containerd that may be killed."""
    with tempfile.TemporaryDirectory(prefix="edgeorch-line-") as name:
        made = daemon.Containerd(Path(name), Path(name).name)
        made.make()
        try:
            made.start()
            runtime = runtime_of(made, tmp_path)
            yield runtime
            runtime.client.close()
        finally:
            made.stop()
            made.unmake()


class Process:
    """The puller in a process of its own."""

    def __init__(self, address: str, image: str) -> None:
        self._words = [sys.executable, "-m", "tests.component.runtime.pulling_process"]
        self._words += [address, image, "1"]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def done(self) -> str:
        assert self._process is not None
        out, _ = await self._process.communicate()
        return out.decode()


async def _until(line: registries.Line, carried: float) -> None:
    async with asyncio.timeout(60):
        while line.carried < carried:
            await asyncio.sleep(0.005)


@pytest.mark.ask(15)
async def test_an_image_arrives_through_drops_stalls_and_restarts(
    own: Runtime, registry: registries.Registry
) -> None:
    drops, size = 20, labs.rounds(64, 200) * MIB
    layers = [registries.noise_layer(f"n{n}", size // LAYERS, n) for n in range(LAYERS)]
    registry.push("team/large", "1.0", layers)
    async with registries.Line(registry.port) as line:
        chance = random.Random(1)
        # Far enough apart that all of them are met, whatever the rest of the line does.
        apart = size // (drops + 2) // 3
        line.cuts = [chance.randrange(apart, 2 * apart) for _ in range(drops)]
        line.stalls = [apart]
        image = f"127.0.0.1:{line.port}/team/large:1.0"
        process = Process(own.daemon.address, image)
        await process.start()
        await _until(line, size / 4)
        await process.kill()
        await process.start()
        await _until(line, size / 2)
        own.daemon.kill()
        own.daemon.start()
        assert await process.done() == "done\n"
        assert (line.cuts, line.stalls) == ([], [])
        print(f"{line.carried / size:.3f} of its {size} bytes")
        assert line.carried < 1.1 * size

    found = await own.images.get(image)
    described = await own.images.manifest(oci.Descriptor("", found.digest, 0))
    for layer in described.layers:
        digest = hashlib.sha256()
        async for part in content.Content(own.client).chunks(layer.digest):
            digest.update(part)
        assert f"sha256:{digest.hexdigest()}" == layer.digest
    assert (await own.images.config(image)).diff_ids == [registries._digest(x) for x in layers]
    assert await own.leases.list() == []


async def test_an_ingest_that_a_power_cut_left_unreadable_is_begun_anew(
    own: Runtime, registry: registries.Registry
) -> None:
    registry.push("team/cut", "1.0", [registries.noise_layer("cut", 4 * MIB, 99)])
    async with registries.Line(registry.port) as line:
        image = f"127.0.0.1:{line.port}/team/cut:1.0"
        line.stalls = [2 * MIB]
        process = Process(own.daemon.address, image)
        await process.start()
        await _until(line, 2 * MIB)
        await process.kill()
    own.daemon.kill()
    ingests = list((own.daemon.root / "lib/io.containerd.content.v1.content/ingest").iterdir())
    assert ingests
    for ingest in ingests:
        # What was never flushed is empty after the power is back.
        for name in ("ref", "total", "startedat", "updatedat"):
            (ingest / name).write_bytes(b"")
    own.daemon.start()
    process = Process(own.daemon.address, f"127.0.0.1:{registry.port}/team/cut:1.0")
    await process.start()
    assert await process.done() == "done\n"
