"""Output when the process that writes it down is killed: no line is lost, and none comes twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeorch.runtime import logfile, logs, stdio
from tests.component.runtime.test_log_files import NOW, Talker, entries, lines, whole

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


async def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "pods" / "0.log"
    talker = Talker(stdio.StdioDir(run).make("c"))
    enough = threading.Event()
    speaking = asyncio.create_task(asyncio.to_thread(_speak, talker, enough))
    dice = random.Random(7)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(run), str(path)], stdout=subprocess.PIPE
        )
        assert child.stdout
        said = await asyncio.to_thread(child.stdout.readline)
        await asyncio.sleep(dice.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert said == b"up\n"
    output = logs.Logs(stdio.StdioDir(run), max_files=1000)
    await output.attach("c", path)
    enough.set()
    last = await speaking
    talker.end()
    await output.finish("c")
    await output.close()
    assert len(logfile.rotated(path)) > 3
    wrong = _first_wrong(whole(path).split(b"\n"), last)
    assert not wrong, wrong
    assert not (run / "io" / "c").exists()


def _speak(talker: Talker, enough: threading.Event) -> int:
    """One number a line; the first that was not said."""
    for first in itertools.count(0, 1000):
        if enough.is_set():
            return first
        # An unfinished line at the end of most pieces.
        text = b"".join(b"%d\n" % number for number in range(first, first + 1000))
        for at in range(0, len(text), 2500):
            talker.say(text[at : at + 2500])
    raise AssertionError


def _first_wrong(lines: list[bytes], last: int) -> str:
    """Where the lines are not 0, 1, 2… and then an empty rest; "" where they are."""
    expected = [*(b"%d" % number for number in range(last)), b""]
    pairs = enumerate(itertools.zip_longest(lines, expected))
    return next(
        (f"line {at}: {got!r}, not {want!r}" for at, (got, want) in pairs if got != want), ""
    )


def test_what_may_be_taken_back_is_not_compressed(tmp_path: Path) -> None:
    """By the next process, when this one dies in a write that rotates more than once."""
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=1000, max_files=100)
    appender.write(entries(1, 100), NOW)
    place = appender.inode, appender.size
    appender.write(entries(101, 200), NOW)
    files = logfile.rotated(path)
    for file in (older := logfile.uncompressed(path, place[0])):
        logfile.compress(file)
    assert 0 < len(older) < len(files) - 3
    appender.cut(*place)
    appender.write(entries(101, 200), NOW)
    appender.close()
    assert whole(path) == lines(1, 200)


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
