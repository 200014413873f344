"""Commands inside a running container: result, output bound, time limit, stdin, terminal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest
from google.protobuf import any_pb2

from edgeorch.runtime import errors, execs
from edgeorch.runtime.pb import tasks_pb2
from tests.component.runtime import watching
from tests.component.runtime.conftest import Runtime


@pytest.fixture
async def commands(runtime: Runtime) -> AsyncIterator[execs.Execs]:
    await runtime.run("host", "sleep", "1000")
    made = execs.Execs(runtime.client, runtime.containers, runtime.stdio)
    yield made
    await runtime.containers.delete("host", force=True)
    await made.close()
    left = runtime.run_dir / "io" / "host"
    assert not left.exists() or os.listdir(left) == []


def sh(script: str, **more: object) -> execs.Command:
    return execs.Command(["sh", "-c", script], **more)  # type: ignore[arg-type]


async def test_a_command_gives_its_code_and_both_outputs(commands: execs.Execs) -> None:
    result = await commands.run("host", sh("echo out; echo err >&2; exit 3"), limit=10)
    assert result.exit_code == 3
    assert sorted(result.output.splitlines()) == [b"err", b"out"]


async def test_environment_directory_and_user_can_be_set(commands: execs.Execs) -> None:
    command = sh(
        "id -u; pwd; echo $HOME $MORE",
        env={"HOME": "/tmp", "MORE": "x=y"},
        cwd="/tmp",
        user={"uid": 1000, "gid": 1000},
    )
    result = await commands.run("host", command, limit=10)
    assert result.output == b"1000\n/tmp\n/tmp x=y\n"


async def test_output_beyond_the_limit_is_read_and_dropped(commands: execs.Execs) -> None:
    result = await commands.run("host", sh("seq 1 300000; echo end >&2"), limit=20)
    assert (result.exit_code, len(result.output)) == (0, execs.OUTPUT_LIMIT)


async def test_a_command_over_its_time_is_killed(commands: execs.Execs) -> None:
    began = time.monotonic()
    with pytest.raises(errors.ExecTimeout, match='command "sleep 1000" timed out'):
        await commands.run("host", execs.Command(["sleep", "1000"]), limit=0.3)
    assert time.monotonic() - began < 5
    result = await commands.run("host", sh("cat /proc/[0-9]*/cmdline"), limit=10)
    assert result.output.count(b"sleep") == 1  # the container's own


async def test_a_cancelled_command_is_killed(commands: execs.Execs) -> None:
    task = asyncio.create_task(commands.run("host", execs.Command(["sleep", "999"]), limit=99))

    async def sleeping() -> bool:
        result = await commands.run("host", sh("cat /proc/[0-9]*/cmdline"), limit=10)
        return b"999" in result.output

    await watching.until(sleeping)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await sleeping()


async def test_whoever_is_cancelled_while_it_starts_leaves_a_shim_that_answers(
    commands: execs.Execs,
) -> None:
    """One that opens a FIFO which nobody reads takes no other call of its container."""
    for turns in range(40):
        task = asyncio.create_task(commands.run("host", execs.Command(["true"]), limit=99))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await commands.close()
    assert (await commands.run("host", sh("echo here"), limit=10)).output == b"here\n"


async def test_a_child_that_keeps_the_output_open_does_not_keep_us(commands: execs.Execs) -> None:
    began = time.monotonic()
    result = await commands.run("host", sh("sleep 1000 & echo done"), limit=10)
    assert result == execs.ExecResult(0, b"done\n")
    assert time.monotonic() - began < execs.EOF_GRACE + 1


async def test_a_program_that_is_not_there_says_so(commands: execs.Execs) -> None:
    with pytest.raises(errors.ContainerdError, match="no-such-program"):
        await commands.run("host", execs.Command(["no-such-program"]), limit=10)


async def test_without_a_container_it_is_not_found(commands: execs.Execs) -> None:
    with pytest.raises(errors.NotFound):
        await commands.run("nobody", execs.Command(["true"]), limit=10)


async def test_stdin_goes_in_and_ends(commands: execs.Execs) -> None:
    data = b"line\n" * 100_000
    result = await commands.run(
        "host", execs.Command(["cat"], stdin=True), limit=20, stdin=data, output_limit=1_000_000
    )
    assert result == execs.ExecResult(0, data)


async def test_stdin_nobody_reads_does_not_block_beyond_the_end(commands: execs.Execs) -> None:
    command = execs.Command(["sleep", "0.3"], stdin=True)
    result = await commands.run("host", command, limit=20, stdin=b"x" * 3_000_000)
    assert result.exit_code == 0


async def test_a_terminal_is_one_stream_that_can_be_resized(commands: execs.Execs) -> None:
    command = sh("read _; stty size; tty", terminal=True, stdin=True)
    async with commands.open("host", command) as process:
        assert list(process.outputs()) == ["stdout"]
        await process.resize(123, 45)
        await process.write(b"\n")
        shown = b"".join([data async for data in process.outputs()["stdout"]])
        assert await process.wait() == 0
    assert b"45 123\r\n" in shown
    assert b"/dev/pts/" in shown


async def test_streams_are_read_as_they_come(commands: execs.Execs) -> None:
    async with commands.open("host", execs.Command(["cat"], stdin=True)) as process:
        stdout = process.outputs()["stdout"]
        for text in (b"one", b"two"):
            await process.write(text)
            assert await anext(stdout) == text
        await process.close_stdin()
        assert [data async for data in stdout] == []
        assert await process.wait() == 0


async def test_what_a_former_process_ran_is_ended(commands: execs.Execs, runtime: Runtime) -> None:
    """Its owner died; the next one finds it by its FIFOs."""
    former = execs.Execs(runtime.client, runtime.containers, runtime.stdio)
    async with former.open("host", sh("exec sleep 1000")):
        await commands.end_former()
        assert runtime.stdio.exec_ids("host") == []
        listed = await commands.run("host", sh("cat /proc/[0-9]*/comm"), limit=10)
        assert listed.output.split().count(b"sleep") == 1  # the container's own


async def test_a_shim_that_waits_for_one_who_died_is_let_through(
    commands: execs.Execs, runtime: Runtime
) -> None:
    """He made the FIFOs, asked for the start, and never read."""
    tasks = runtime.client.services.tasks
    io = runtime.stdio.make("host", "exec-former")
    spec = execs.process_spec(await runtime.containers.spec("host"), execs.Command(["true"]))
    request = tasks_pb2.ExecProcessRequest(
        container_id="host",
        exec_id="exec-former",
        stdout=io.stdout,
        stderr=io.stderr,
        spec=any_pb2.Any(type_url=execs.PROCESS_TYPE, value=spec),
    )
    await runtime.client.call(tasks.Exec, request)
    begun = tasks_pb2.StartRequest(container_id="host", exec_id="exec-former")
    starting = asyncio.create_task(runtime.client.call(tasks.Start, begun))

    async def stuck() -> bool:
        request = tasks_pb2.GetRequest(container_id="host")
        try:
            await runtime.client.call(tasks.Get, request, deadline=0.5)
        except errors.Unavailable:
            return True
        return False

    await watching.until(stuck)
    async with asyncio.timeout(10):
        await commands.end_former()
        await asyncio.wait([starting])
    assert (await commands.run("host", sh("echo here"), limit=10)).output == b"here\n"
