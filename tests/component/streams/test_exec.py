"""kubectl exec with real kubectl, by SPDY and by WebSocket: streams, codes, words, memory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pathlib
import struct
import termios

from tests.component.runtime import watching
from tests.component.streams import conftest
from tests.component.streams.conftest import Device

MEGABYTE = 1024 * 1024


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


async def test_what_cannot_be_run_is_told(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sleep", "1000")
    await device.store_pod("waiting", {"waiting": {"reason": "ContainerCreating"}})
    done = await device.kubectl(kubectl, "exec", "p", "--", "no-such-program")
    assert done.code == 1
    assert "Internal error occurred: error executing command in container" in done.err
    assert '"no-such-program": executable file not found in $PATH' in done.err
    done = await device.kubectl(kubectl, "exec", "p", "-c", "other", "--", "true")
    assert done.code == 1
    assert "container other is not valid for pod p" in done.err or "other" in done.err
    done = await device.kubectl(kubectl, "exec", "waiting", "--", "true")
    assert done.code == 1
    assert 'unable to upgrade connection: container not found ("main")' in done.err
    done = await device.kubectl(kubectl, "exec", "nobody", "--", "true")
    assert done.err == 'Error from server (NotFound): pods "nobody" not found\n'


async def test_a_terminal_has_the_clients_size_and_follows_it(
    device: Device, kubectl: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    ours, theirs = os.openpty()
    try:
        _resize(ours, 40, 100)
        wait = 'until [ "$(stty size)" = "{}" ]; do sleep 0.05; done; echo has {}.; '
        script = wait.format("40 100", "first") + wait.format("50 133", "second") + "exit 3"
        process = await device.start(
            kubectl, "exec", "-it", "p", "--", "sh", "-c", script,
            stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        await _shows(ours, b"has first.\r\n")
        _resize(ours, 50, 133)
        await _shows(ours, b"has second.\r\n")
        assert await asyncio.wait_for(process.wait(), 20) == 3
    finally:
        os.close(ours)
        os.close(theirs)


async def test_what_is_typed_comes_back_and_ctrl_d_ends_a_shell(
    device: Device, kubectl: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    ours, theirs = os.openpty()
    try:
        process = await device.start(
            kubectl, "exec", "-it", "p", "--", "sh",
            stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        await _shows(ours, b"# ")
        os.write(ours, b"echo $((6 * 7))\r")
        # While the command runs the line is cooked: what is typed before the prompt may be lost.
        await _shows(ours, b"42\r\n~ # ")
        os.write(ours, b"\x04")
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _shows(fd: int, text: bytes) -> None:
    """Wait until the terminal shows `text`."""
    loop = asyncio.get_running_loop()
    shown = bytearray()
    readable = asyncio.Event()
    os.set_blocking(fd, False)
    loop.add_reader(fd, readable.set)
    try:
        async with asyncio.timeout(30):
            while text not in shown:
                await readable.wait()
                readable.clear()
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(fd, 4096)
    except TimeoutError:
        raise AssertionError(bytes(shown)) from None
    finally:
        loop.remove_reader(fd)


async def test_a_slow_client_slows_the_command_and_memory_stays_flat(
    device: Device, one_of_each: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    size = 256 * MEGABYTE
    process = await device.start(
        one_of_each, "exec", "p", "--", "sh", "-c", f"yes | /bin/busybox head -c {size}",
        stdout=asyncio.subprocess.PIPE, limit=MEGABYTE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readexactly(2) == b"y\n"
    before = _resident()
    # Nobody reads: after a while nothing moves any more, with the rest still to come.
    await _standstill(process.pid)
    assert _resident() - before < 16 * MEGABYTE
    got = 2
    peak = 0
    async with asyncio.timeout(120):
        while data := await process.stdout.read(MEGABYTE):
            got += len(data)
            peak = max(peak, _resident())
    assert (got, await process.wait()) == (size, 0)
    assert peak - before < 16 * MEGABYTE


async def test_a_command_that_does_not_read_slows_the_client(
    device: Device, one_of_each: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    size = 64 * MEGABYTE
    source = device.directory / "source"
    source.write_bytes(b"x" * size)
    before = _resident()
    script = "until [ -e /tmp/go ]; do sleep 0.05; done; /bin/busybox wc -c"
    with source.open("rb") as file:
        process = await device.start(
            one_of_each, "exec", "-i", "p", "--", "sh", "-c", script,
            stdin=file, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await _standstill(process.pid)
    assert process.returncode is None
    assert _resident() - before < 16 * MEGABYTE
    done = await device.kubectl(one_of_each, "exec", "p", "--", "sh", "-c", ": > /tmp/go")
    assert done.code == 0
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.strip() == str(size).encode()


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _standstill(pid: int) -> None:
    """Until the client has neither read nor written for a while."""
    async with asyncio.timeout(30):
        before, quiet = "", 0
        while quiet < 5:
            await asyncio.sleep(0.1)
            with open(f"/proc/{pid}/io", encoding="ascii") as file:
                now = "".join(line for line in file if line.startswith(("rchar", "wchar")))
            quiet = quiet + 1 if now == before else 0
            before = now


async def test_a_client_that_leaves_takes_its_command_with_it(
    device: Device, kubectl: pathlib.Path
) -> None:
    await device.run("p", "sleep", "1000")
    process = await device.start(
        kubectl, "exec", "p", "--", "sh", "-c", "echo up; sleep 4321",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    assert await _runs(device, b"sleep\x004321")
    process.kill()

    async def ended() -> bool:
        return not await _runs(device, b"echo up")

    await watching.until(ended)


async def _runs(device: Device, words: bytes) -> bool:
    done = await device.kubectl(
        conftest.PROGRAMS[-1], "exec", "p", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline; true"
    )
    return words in done.out


async def test_files_are_copied_both_ways(device: Device, kubectl: pathlib.Path) -> None:
    await device.run("p", "sleep", "1000")
    installed = await device.kubectl(
        kubectl, "exec", "p", "--", "/bin/busybox", "--install", "-s", "/bin"
    )
    assert installed.code == 0, installed
    source = device.directory / "source.bin"
    source.write_bytes(os.urandom(5 * MEGABYTE + 17))
    done = await device.kubectl(kubectl, "cp", str(source), "p:/tmp/there.bin")
    assert done.code == 0, done
    back = device.directory / "back.bin"
    done = await device.kubectl(kubectl, "cp", "p:/tmp/there.bin", str(back))
    assert done.code == 0, done
    assert back.read_bytes() == source.read_bytes()
