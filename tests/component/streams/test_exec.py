"""kubectl exec with real kubectl, by SPDY and by WebSocket: streams, codes, words."""

from __future__ import annotations

import pathlib

from tests.component.streams.conftest import Device


async def test_outputs_and_the_code_come_back(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sleep", "1000")
    done = await device.kubectl(
        kubectl, "exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7"
    )
    assert (done.code, done.out) == (7, b"out\n")
    assert done.err.splitlines() == ["err", "command terminated with exit code 7"]
    done = await device.kubectl(kubectl, "exec", "p", "-c", "main", "--", "true")
    assert (done.code, done.out, done.err) == (0, b"", "")


async def test_stdin_goes_in_and_ends(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sleep", "1000")
    data = bytes(range(256)) * 20_000
    done = await device.kubectl(kubectl, "exec", "-i", "p", "--", "cat", stdin=data)
    assert (done.code, done.err) == (0, "")
    assert done.out == data
