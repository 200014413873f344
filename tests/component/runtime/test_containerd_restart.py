"""containerd goes away and comes back: containers live on, the client and the owner recover."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeorch.runtime import client, errors, events, execs, logs
from tests.component.runtime import daemon, watching
from tests.component.runtime.conftest import Runtime, runtime_of


@pytest.fixture
async def own(busybox_archive: Path) -> AsyncIterator[Runtime]:
    """A containerd for this test alone, because it is killed."""
    root = Path(tempfile.mkdtemp(prefix="edgeorch-test-"))
    started = daemon.Containerd(root, root.name)
    started.make()
    try:
        started.start()
        runtime = runtime_of(started, root / "own")
        await runtime.archives.import_archive(busybox_archive)
        yield runtime
        runtime.client.close()
    finally:
        started.stop()
        started.unmake()
        shutil.rmtree(root)


async def test_containers_live_through_the_death_of_containerd(
    own: Runtime, tmp_path: Path
) -> None:
    output = logs.Logs(own.stdio)
    path = tmp_path / "0.log"
    await own.create("alive", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    pid = await own.containers.start("alive", await output.attach("alive", path))
    await own.run("brief", "sh", "-c", "sleep 1.5; exit 5")
    async with watching.watching(own.events) as watch:
        own.daemon.kill()
        assert isinstance(await watch.lost(), errors.EventsLost)
    with pytest.raises(errors.Unavailable):
        await own.client.health()
    with pytest.raises(errors.Unavailable):
        await own.containers.list()
    with pytest.raises(errors.EventsLost):
        await anext(own.events.subscribe())

    before = path.stat().st_size

    async def ticks() -> bool:
        return path.stat().st_size > before

    await watching.until(ticks)  # output flows without containerd

    own.daemon.start()
    assert await own.client.health()
    async with watching.watching(own.events) as watch:
        listed = {record.id: record.task for record in await own.containers.list()}
        task = listed["alive"]
        assert task is not None
        assert (task.status, task.pid) == ("running", pid)
        brief = listed["brief"]
        assert brief is not None
        if brief.status == "running":
            assert (await watch.seen(events.TaskExited)).exit_code == 5
        else:
            assert brief.exit_code == 5
    commands = execs.Execs(own.client, own.containers, own.stdio)
    result = await commands.run("alive", execs.Command(["echo", "back"]), limit=10)
    assert result.output == b"back\n"
    await commands.close()
    await own.containers.delete("alive", force=True)
    await output.finish("alive")
    await own.containers.delete("brief", force=True)
    await output.close()


async def test_a_command_in_its_course_is_told_once_that_containerd_went_away(
    own: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    await own.run("alive", "sleep", "1000")
    commands = execs.Execs(own.client, own.containers, own.stdio)
    async with commands.open(
        "alive", execs.Command(["sh", "-c", "echo on; sleep 1000"])
    ) as process:
        assert await anext(process.outputs()["stdout"]) == b"on\n"
        own.daemon.kill()
        with pytest.raises(errors.Unavailable):
            await process.wait()
    await commands.close()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    own.daemon.start()
    await own.containers.delete("alive", force=True)


async def test_a_shim_that_died_is_told_as_the_exit_of_its_container(own: Runtime) -> None:
    """What an OOM killer that picks the shim leaves behind."""
    async with watching.watching(own.events) as watch:
        await own.run("orphaned", "sleep", "1000")
        [shim] = own.daemon.shims()
        os.kill(shim, signal.SIGKILL)
        exited = await watch.seen(events.TaskExited)
        assert (exited.container_id, exited.exit_code) == ("orphaned", 137)
    await own.containers.delete("orphaned", force=True)
    assert await own.containers.list() == []
    await own.run("orphaned", "sleep", "1000")
    await own.containers.delete("orphaned", force=True)


async def test_a_client_without_containerd_says_it_cannot_be_reached(tmp_path: Path) -> None:
    nobody = client.Client(str(tmp_path / "absent.sock"), "edgeorch")
    with pytest.raises(errors.Unavailable, match="cannot reach containerd"):
        await nobody.health()
    nobody.close()
