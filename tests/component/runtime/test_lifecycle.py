"""A container's life on a real containerd: created, started, seen to exit, deleted."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from edgeorch.runtime import errors, events, stdio
from tests.component.runtime import watching
from tests.component.runtime.conftest import BUSYBOX, Runtime


async def test_a_container_is_created_started_seen_to_exit_and_deleted(runtime: Runtime) -> None:
    async with watching.watching(runtime.events) as watch:
        await runtime.create("life", "sh", "-c", "sleep 0.1; exit 7")
        record = await runtime.containers.get("life")
        assert (record.image, record.labels, record.task) == (BUSYBOX, {"app": "life"}, None)
        pid = await runtime.containers.start("life", stdio.Stdio())
        started = await watch.seen(events.TaskStarted)
        assert started == events.TaskStarted("life", pid)
        exited = await watch.seen(events.TaskExited)
        assert (exited.container_id, exited.exec_id, exited.exit_code) == ("life", "", 7)
        assert exited.exited_at is not None

        listed = await runtime.containers.list()
        assert [record.id for record in listed] == ["life"]
        task = listed[0].task
        assert task is not None
        assert (task.status, task.exit_code, task.exited_at) == ("stopped", 7, exited.exited_at)

        ended = await runtime.containers.delete("life")
        assert ended is not None
        assert ended.exit_code == 7
    assert await runtime.containers.list() == []
    assert await runtime.containers.delete("life") is None


async def test_a_running_container_is_killed_and_only_then_deleted(runtime: Runtime) -> None:
    pid = await runtime.run("running", "sleep", "100")
    with pytest.raises(errors.FailedPrecondition):
        await runtime.containers.delete("running")
    task = (await runtime.containers.get("running")).task
    assert task is not None
    assert (task.status, task.pid) == ("running", pid)
    waiting = asyncio.create_task(runtime.containers.wait("running"))
    await runtime.containers.kill("running", signal.SIGKILL)
    assert (await waiting).exit_code == 137
    await runtime.containers.kill("running", signal.SIGTERM)
    ended = await runtime.containers.delete("running")
    assert ended is not None
    assert ended.exit_code == 137
    await runtime.containers.kill("running", signal.SIGTERM)


async def test_force_deletes_a_running_container_with_its_children(runtime: Runtime) -> None:
    pid = await runtime.run("forced", "sh", "-c", "sleep 100 & sleep 100")
    ended = await runtime.containers.delete("forced", force=True)
    assert ended is not None
    assert ended.exit_code == 137
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_command_that_does_not_exist_says_so_and_leaves_no_task(runtime: Runtime) -> None:
    await runtime.create("absent", "no-such-program")
    with pytest.raises(errors.ContainerdError, match="no-such-program"):
        await runtime.containers.start("absent", stdio.Stdio())
    assert (await runtime.containers.get("absent")).task is None
    await runtime.create("again", "true")
    await runtime.containers.delete("absent")
    await runtime.containers.delete("again")


async def test_a_taken_id_is_refused_and_the_first_container_keeps_its_snapshot(
    runtime: Runtime,
) -> None:
    await runtime.create("taken", "sleep", "100")
    with pytest.raises(errors.AlreadyExists):
        await runtime.create("taken", "sleep", "100")
    assert await runtime.containers.start("taken", stdio.Stdio()) > 0


async def test_an_image_that_is_not_unpacked_cannot_be_created_from(runtime: Runtime) -> None:
    with pytest.raises(errors.NotFound):
        await runtime.containers.create(
            "bare", image="x", chain_id="sha256:" + "0" * 64, spec=b"{}", labels={}
        )
    assert await runtime.containers.remove_orphans() == []


async def test_a_snapshot_without_a_record_is_taken_over_or_found_as_an_orphan(
    runtime: Runtime,
) -> None:
    config = await runtime.images.config(BUSYBOX)
    for _ in range(2):
        await runtime.containers._prepare("orphan", config.chain_id, "orphan")
    assert await runtime.containers.remove_orphans() == ["orphan"]
    assert await runtime.containers.remove_orphans() == []


async def test_labels_are_changed_one_by_one(runtime: Runtime) -> None:
    await runtime.create("labels", "true")
    await runtime.containers.update_labels("labels", {"edgeorch.io/restart": "3"})
    await runtime.containers.update_labels("labels", {"edgeorch.io/restart": "4", "more": "x"})
    record = await runtime.containers.get("labels")
    assert record.labels == {"app": "labels", "edgeorch.io/restart": "4", "more": "x"}
    listed = await runtime.containers.list('labels."edgeorch.io/restart"==4')
    assert [record.id for record in listed] == ["labels"]
    assert await runtime.containers.list('labels."edgeorch.io/restart"==3') == []


async def test_an_unknown_container_is_not_found(runtime: Runtime) -> None:
    with pytest.raises(errors.NotFound):
        await runtime.containers.get("nobody")
    assert await runtime.containers.delete_task("nobody") is None


async def test_containers_of_a_group_share_one_shim(runtime: Runtime) -> None:
    before = len(runtime.daemon.shims())
    await runtime.run("one", "sleep", "100", group="pod")
    await runtime.run("two", "sleep", "100", group="pod")
    assert len(runtime.daemon.shims()) == before + 1
    # The one that started the shim ends first; the pod's shim goes on and takes another.
    await runtime.containers.delete("one", force=True)
    await runtime.run("three", "sleep", "100", group="pod")
    assert len(runtime.daemon.shims()) == before + 1


@pytest.mark.parametrize("new_first", [True, False], ids=["new first", "old deleted first"])
async def test_a_restart_works_in_either_order(runtime: Runtime, new_first: bool) -> None:
    """The shim ends with its last task: the successor may find it there, going, or gone."""
    await runtime.run("old-0", "true", group="restarts")
    for turn in range(5):
        old, new = f"old-{turn}", f"old-{turn + 1}"
        await runtime.containers.wait(old)
        if not new_first:
            await runtime.containers.delete(old)
        await runtime.run(new, "true", group="restarts")
        if new_first:
            await runtime.containers.delete(old)


async def test_an_oom_kill_is_told(runtime: Runtime) -> None:
    async with watching.watching(runtime.events) as watch:
        await runtime.run(
            "hungry",
            "sh",
            "-c",
            "x=aaaaaaaa; while :; do x=$x$x; done",
            memory_limit=16 * 1024 * 1024,
        )
        assert (await watch.seen(events.TaskOOM)).container_id == "hungry"
        await watch.seen(events.TaskExited)
