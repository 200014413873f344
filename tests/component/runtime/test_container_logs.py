"""Container output through a real shim's FIFOs into log files, over restarts of this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeorch.core import log_names
from edgeorch.runtime import logs
from tests.component.runtime import watching
from tests.component.runtime.conftest import Runtime, runtime_of


async def shown(source: logs.Logs, path: Path, **options: object) -> bytes:
    read = source.read(path, **options)  # type: ignore[arg-type]
    return b"".join([block async for block in read])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pods" / log_names.folder("default", "web", "uid-1") / "app" / "0.log"


async def test_output_is_written_as_cri_lines_and_ends_with_the_container(
    runtime: Runtime, path: Path
) -> None:
    output = logs.Logs(runtime.stdio)
    await runtime.create("talk", "sh", "-c", "echo out; echo err >&2; echo -n rest")
    io = await output.attach("talk", path)
    await runtime.containers.start("talk", io)
    await runtime.containers.wait("talk")
    await output.finish("talk")
    entries = path.read_bytes().splitlines()
    assert sorted(entry.split(b" ", 1)[1] for entry in entries) == [
        b"stderr F err",
        b"stdout F out",
        b"stdout P rest",
    ]
    assert await shown(output, path, stream="stdout") == b"out\nrest"
    assert not (runtime.run_dir / "io" / "talk").exists()
    await output.close()


async def test_following_ends_when_the_output_does(runtime: Runtime, path: Path) -> None:
    output = logs.Logs(runtime.stdio)
    await runtime.create("count", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.1; done")
    io = await output.attach("count", path)
    following = asyncio.create_task(shown(output, path, follow=True))
    await runtime.containers.start("count", io)
    assert await asyncio.wait_for(following, 20) == b"1\n2\n3\n4\n"
    await output.close()


async def test_what_is_said_while_this_process_is_away_is_not_lost(
    runtime: Runtime, path: Path
) -> None:
    first = logs.Logs(runtime.stdio)
    script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; echo said; sleep 100"
    await runtime.create("steady", "sh", "-c", script)
    await runtime.containers.start("steady", await first.attach("steady", path))
    await first.close()

    again = runtime_of(runtime.daemon, runtime.run_dir)
    second = logs.Logs(again.stdio)
    await second.attach("steady", path)

    async def said() -> bool:
        return (await shown(second, path)).endswith(b"said\n")

    await watching.until(said)
    expected = b"".join(b"line %d\n" % number for number in range(1, 2001)) + b"said\n"
    assert await shown(second, path) == expected
    await runtime.containers.delete("steady", force=True)
    await second.finish("steady")
    await second.close()
    again.client.close()


async def test_a_chatty_container_does_not_keep_a_quiet_one_waiting(
    runtime: Runtime, tmp_path: Path
) -> None:
    output = logs.Logs(runtime.stdio, max_size=1024 * 1024, max_files=2)
    loud, quiet = tmp_path / "loud" / "0.log", tmp_path / "quiet" / "0.log"
    for name, path, args in (
        ("loud", loud, ["yes"]),
        ("quiet", quiet, ["sh", "-c", "while :; do echo tick; sleep 0.05; done"]),
    ):
        await runtime.create(name, *args)
        await runtime.containers.start(name, await output.attach(name, path))
    reader = output.read(quiet, follow=True)
    seen = b""
    loop = asyncio.get_running_loop()
    longest = 0.0
    while seen.count(b"tick") < 20:
        began = loop.time()
        seen += await asyncio.wait_for(anext(reader), 10)
        longest = max(longest, loop.time() - began)
    await reader.aclose()  # type: ignore[attr-defined]
    assert longest < 2
    for name in ("loud", "quiet"):
        await runtime.containers.delete(name, force=True)
        await output.finish(name)
    assert sum(file.stat().st_size for file in loud.parent.iterdir()) < 4 * 1024 * 1024
    await output.close()
