"""Output when the process that writes it down is killed: no line is lost, and none comes twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeorch.runtime import logfile, logs, stdio
from tests.component.runtime.test_log_files import Talker, whole

CHILD = """
import asyncio, pathlib, sys
from edgeorch.runtime import logs, stdio

async def main():
    run, path = map(pathlib.Path, sys.argv[1:])
    output = logs.Logs(stdio.StdioDir(run), max_size=300_000, max_files=1000)
    await output.attach("c", path)
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
KILLS = 8
LINES = 400_000


async def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "pods" / "0.log"
    talker = Talker(stdio.StdioDir(run).make("c"))
    speaking = asyncio.create_task(asyncio.to_thread(_speak, talker))
    dice = random.Random(7)
    for _ in range(KILLS):
        command = [sys.executable, "-c", CHILD, str(run), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout
            assert await asyncio.to_thread(child.stdout.readline) == b"up\n"
            await asyncio.sleep(dice.random() * 0.02)
            assert not speaking.done()
            child.send_signal(signal.SIGKILL)
    output = logs.Logs(stdio.StdioDir(run), max_files=1000)
    await output.attach("c", path)
    await speaking
    talker.end()
    await output.finish("c")
    await output.close()
    assert len(logfile.rotated(path)) > 3
    assert whole(path) == b"".join(b"%d\n" % number for number in range(LINES))
    assert not (run / "io" / "c").exists()


def _speak(talker: Talker) -> None:
    for first in range(0, LINES, 1000):
        # An unfinished line at the end of most pieces.
        text = b"".join(b"%d\n" % number for number in range(first, first + 1000))
        for at in range(0, len(text), 2500):
            talker.say(text[at : at + 2500])


async def test_an_unfinished_line_is_kept_through_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    first = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    talker = Talker(await first.attach("c", path))
    reading = first._sources["c"].pump
    talker.say(b"one\nhalf of ")
    while not path.stat().st_size or not all(s.spool for s in list(reading.streams.values())[:1]):
        await asyncio.sleep(0.01)
    await first.close()
    second = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    await second.attach("c", path)
    talker.say(b"two\n")
    talker.end()
    await second.finish("c")
    await second.close()
    assert [line.split(b" ", 2)[2] for line in path.read_bytes().splitlines()] == [
        b"F one",
        b"F half of two",
    ]


async def test_the_service_manager_keeps_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a container that ends while nobody reads."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    path = tmp_path / "0.log"
    first = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    talker = Talker(await first.attach("c", path))
    stored = [_received(told), _received(told)]
    assert [text for text, _ in stored] == [
        f"FDSTORE=1\nFDNAME=c.{name}\nFDPOLL=0" for name in ("stdout", "stderr")
    ]
    await first.close()
    talker.say(b"last words")
    talker.end()

    # What systemd does: duplicates from 3 on, and their names. Here they stay where they are.
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    monkeypatch.setenv("LISTEN_FDNAMES", "c.stdout:c.stderr:gone.stdout")
    second = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    assert _received(told)[0] == "FDSTOREREMOVE=1\nFDNAME=gone.stdout"
    await second.attach("c", path)
    await second.finish("c")
    assert path.read_bytes().endswith(b" stdout P last words\n")
    # Stored once, not once more with each start, and let go at the end.
    assert _received(told)[0] == "FDSTOREREMOVE=1\nFDNAME=c.stdout"
    assert _received(told)[0] == "FDSTOREREMOVE=1\nFDNAME=c.stderr"
    await second.close()
    told.close()
    for _, fds in stored:
        for fd in fds:
            os.close(fd)


def _received(told: socket.socket) -> tuple[str, list[int]]:
    data, fds, _, _ = socket.recv_fds(told, 4096, 4)
    return data.decode(), fds
