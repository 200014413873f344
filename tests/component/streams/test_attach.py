"""kubectl attach: a container's output from now on, its stdin, its terminal."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from edgeorch.runtime import attach, errors, execs
from tests.component.streams.conftest import Device


async def test_output_comes_from_now_on_until_the_container_ends(
    device: Device, kubectl: pathlib.Path
) -> None:
    script = "echo early; until [ -e /go ]; do sleep 0.05; done; seq 1 5000; echo err >&2"
    await device.run("p", "sh", "-c", script)
    process = await device.start(
        kubectl, "attach", "p", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await _attached(device, "p")
    await device.kubectl(kubectl, "exec", "p", "--", "sh", "-c", ": > /go")
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (0, b"".join(b"%d\n" % n for n in range(1, 5001)))
    assert err.endswith(b"err\n")
    assert b"early" not in out


async def test_stdin_once_ends_with_its_client(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sh", "-c", "cat; echo done", stdin=True, stdinOnce=True)
    done = await device.kubectl(kubectl, "attach", "-i", "p", stdin=b"typed\n")
    assert (done.code, done.out) == (0, b"typed\ndone\n")


async def test_without_once_the_container_goes_on(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sh", "-c", "while read line; do echo got $line; done", stdin=True)
    for word in (b"one", b"two"):
        process = await device.start(
            kubectl, "attach", "-i", "p",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(word + b"\n")
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"got " + word + b"\n"
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_several_see_the_same(device: Device, kubectl: pathlib.Path) -> None:
    script = "until [ -e /go ]; do sleep 0.05; done; yes line | /bin/busybox head -n 200000"
    await device.run("p", "sh", "-c", script)
    pipe = asyncio.subprocess.PIPE
    both = [await device.start(kubectl, "attach", "p", stdout=pipe, stderr=pipe) for _ in range(2)]
    await _attached(device, "p", 2)
    await device.kubectl(kubectl, "exec", "p", "--", "sh", "-c", ": > /go")
    for process in both:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert out == b"line\n" * 200_000


async def test_one_that_takes_nothing_is_let_go(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "STALL", 0.2)
    script = "until [ -e /go ]; do sleep 0.05; done; yes | /bin/busybox head -c 5000000; : > /ran"
    await device.run("p", "sh", "-c", f"{script}; sleep 100")
    id_ = device.containers["p"]
    attachments = attach.Attachments(device.runtime.client, device.output)
    async with attachments.open(id_, stdin=False, once=False, tty=False) as attached:
        await _exec(device, ": > /go")
        with pytest.raises(errors.ContainerdError, match="not taken"):
            async with asyncio.timeout(20):
                await attached.wait()
        await _exec(device, "until [ -e /ran ]; do sleep 0.05; done")


async def _exec(device: Device, script: str) -> None:
    runtime = device.runtime
    commands = execs.Execs(runtime.client, runtime.containers, runtime.stdio)
    command = execs.Command(["sh", "-c", script])
    result = await commands.run(device.containers["p"], command, limit=20)
    await commands.close()
    assert result.exit_code == 0


async def _attached(device: Device, name: str, count: int = 1) -> None:
    source = device.output._sources[device.containers[name]]
    async with asyncio.timeout(20):
        while len(source.listeners) < count:
            await asyncio.sleep(0.02)
