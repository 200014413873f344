"""Log files without containerd: rotation, the tail, following, disks that are full, memory."""

from __future__ import annotations

import asyncio
import datetime
import errno
import gzip
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.runtime import logfile, logs, logspace, stdio
from edgeorch.wire import cri_log
from tests import media
from tests.component.runtime import watching

NOW = datetime.datetime(2026, 11, 22, 17, 0, 0, tzinfo=datetime.UTC)


def entries(first: int, last: int) -> bytes:
    return b"".join(
        cri_log.stamp(number * 10**9) + b" stdout F line %d\n" % number
        for number in range(first, last + 1)
    )


def lines(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, last + 1))


def whole(path: Path, tail_lines: int | None = None) -> bytes:
    cursor = logfile.Cursor(path, tail_lines=tail_lines)
    renderer = cri_log.Renderer()
    shown = []
    while block := cursor.read():
        shown.append(renderer.feed(block))
    cursor.close()
    return b"".join(shown)


def test_a_log_rotates_by_size_and_keeps_so_many_files(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=1000, max_files=3)
    for number in range(1, 201):
        appender.write(entries(number, number), NOW)
    appender.close()
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names[0] == "0.log"
    assert len(names) == 3
    assert all(file.stat().st_size < 1100 for file in tmp_path.iterdir())
    shown = whole(path)
    assert shown == lines(201 - shown.count(b"\n"), 200)
    assert shown.count(b"\n") > 40


def test_rotated_files_are_named_by_time_and_sort_when_the_clock_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=1, max_files=9)
    clock = [NOW, NOW, NOW, NOW.replace(year=1970), NOW + datetime.timedelta(hours=1)]
    for number, now in enumerate(clock, 1):
        appender.write(entries(number, number), now)
    appender.close()
    assert [file.name for file in logfile.rotated(path)] == [
        "0.log.20261122-170000",
        "0.log.20261122-170001",
        "0.log.20261122-170002",
        "0.log.20261122-180000",
    ]
    assert whole(path) == lines(1, 5)


def test_a_torn_last_entry_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(entries(1, 1) + entries(2, 2)[:20])
    appender = logfile.Appender(path)
    appender.write(entries(3, 3), NOW)
    appender.close()
    assert whole(path) == lines(1, 1) + lines(3, 3)


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 20, 29, 30, 31, 1000])
def test_the_tail_reaches_back_through_rotated_files(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=500, max_files=5)
    for number in range(1, 31):
        appender.write(entries(number, number), NOW)
    appender.close()
    assert len(logfile.rotated(path)) >= 2
    assert whole(path, tail) == lines(max(1, 31 - tail), 30)


@given(st.lists(st.sampled_from([1, 3, 40_000, 70_000, 140_000]), max_size=6), st.integers(0, 8))
def test_the_tail_is_found_whatever_the_lines_are_long(lengths: list[int], wanted: int) -> None:
    texts = [b"x" * length + b"\n" for length in lengths]
    fd = os.memfd_create("tail")
    try:
        os.write(fd, b"".join(texts))
        offset, found = logfile.tail_offset(fd, wanted)
        assert found == min(wanted, len(texts))
        assert os.pread(fd, 10**6, offset) == b"".join(texts[len(texts) - found :])
    finally:
        os.close(fd)


def test_a_reader_goes_on_through_rotations_and_removed_files(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=100, max_files=3)
    appender.write(entries(1, 1), NOW)
    cursor = logfile.Cursor(path)
    renderer = cri_log.Renderer()

    def read() -> bytes:
        shown = b""
        while block := cursor.read():
            shown += renderer.feed(block)
        return shown

    assert read() == lines(1, 1)
    for number in range(2, 6):
        appender.write(entries(number, number), NOW)
    assert read() == lines(2, 5)
    for number in range(6, 30):  # the file the cursor stands in is removed
        appender.write(entries(number, number), NOW)
    shown = read()
    assert shown.endswith(lines(28, 29))
    assert read() == b""
    cursor.close()
    appender.close()


@pytest.mark.parametrize("tail", [None, 0, 1, 7, 16, 17, 18, 25, 29, 30, 31, 1000])
def test_old_files_are_compressed_and_read_as_before(tmp_path: Path, tail: int | None) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=300, max_files=9)
    for number in range(1, 31):
        appender.write(entries(number, number), NOW)
    appender.close()
    files = logfile.rotated(path)
    assert logfile.uncompressed(path, 0) == files[:-1]
    for file in files[:-1]:
        logfile.compress(file)
    # As it is when the power went between making the one and removing the other.
    files[0].write_bytes(gzip.decompress((tmp_path / f"{files[0].name}.gz").read_bytes()))
    assert [file.suffix for file in logfile.rotated(path)[1:-1]] == [".gz"] * (len(files) - 2)
    assert whole(path, tail) == lines(1 if tail is None else max(1, 31 - tail), 30)


def test_a_reader_finds_its_way_when_its_file_is_compressed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=100, max_files=20)
    appender.write(entries(1, 1), NOW)
    cursor = logfile.Cursor(path, renamed=appender.renamed)
    renderer = cri_log.Renderer()
    assert renderer.feed(cursor.read()) == lines(1, 1)
    for number in range(2, 12):
        appender.write(entries(number, number), NOW)
    for file in logfile.uncompressed(path, 0):
        logfile.compress(file)
    shown = b""
    while block := cursor.read():
        shown += renderer.feed(block)
    assert shown == lines(2, 11)
    cursor.close()
    appender.close()


def test_a_file_holds_no_more_than_it_may_however_much_comes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    appender = logfile.Appender(path, max_size=1000, max_files=99)
    appender.write(entries(1, 200), NOW)
    appender.close()
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    assert whole(path) == lines(1, 200)


def test_links_lead_to_logs_and_go_when_those_have_gone(tmp_path: Path) -> None:
    path, links = tmp_path / "pods" / "ns_p_u" / "c" / "0.log", tmp_path / "containers"
    path.parent.mkdir(parents=True)
    path.write_text("here")
    for _ in range(2):
        logfile.make_link(links / "a.log", path)
    assert (links / "a.log").read_text() == "here"
    (links / "foreign.log").symlink_to("/nowhere")
    logfile.remove_dead_links(links, tmp_path / "pods")
    assert (links / "a.log").is_symlink()
    path.unlink()
    logfile.remove_dead_links(links, tmp_path / "pods")
    assert [link.name for link in links.iterdir()] == ["foreign.log"]


@pytest.mark.ask(17)
@pytest.mark.parametrize("max_size", [50_000, 10_000_000], ids=["rotated", "only written now"])
async def test_all_logs_together_stay_below_the_limit(tmp_path: Path, max_size: int) -> None:
    told: list[str] = []
    folder = tmp_path / "pods"
    limit = 300_000
    output = logs.Logs(
        stdio.StdioDir(tmp_path / "run"),
        max_size=max_size,
        space=logspace.Space(folder, limit, told.append),
    )
    paths = [folder / f"ns_p{number}_u" / "c" / "0.log" for number in range(4)]
    voices = [Talker(await output.attach(f"c{n}", path)) for n, path in enumerate(paths)]
    voices[3].say(b"quiet\n")
    for number in range(3000):
        voices[number % 3].say(b"%d %s\n" % (number, os.urandom(150).hex().encode()))
        if number % 100 == 0:
            await asyncio.sleep(0.005)
    for number, voice in enumerate(voices):
        voice.end()
        await output.finish(f"c{number}")

    async def below() -> bool:
        files = [file for file in folder.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files) <= limit

    await watching.until(below)
    assert await _read(output, paths[3]) == b"quiet\n"
    assert all(path.exists() for path in paths)
    assert "pods.log_total_max_bytes" in told[0]
    await output.close()


def test_a_log_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    for tail in (None, 0, 5):
        with pytest.raises(FileNotFoundError):
            logfile.Cursor(tmp_path / "none" / "0.log", tail_lines=tail)


class Talker:
    """The shim's side of a container's FIFOs."""

    def __init__(self, io: stdio.Stdio) -> None:
        self.fds = [os.open(path, os.O_RDWR) for path in io.outputs().values()]

    def say(self, data: bytes) -> None:
        os.write(self.fds[0], data)

    def end(self) -> None:
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
async def output(tmp_path: Path) -> AsyncIterator[logs.Logs]:
    made = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    yield made
    await made.close()


async def _read(output: logs.Logs, path: Path, **options: object) -> bytes:
    source = output.read(path, **options)  # type: ignore[arg-type]
    return b"".join([block async for block in source])


async def test_a_follower_sees_the_tail_then_what_comes_then_the_end(
    output: logs.Logs, tmp_path: Path
) -> None:
    path = tmp_path / "0.log"
    talker = Talker(await output.attach("c", path))
    talker.say(b"one\ntwo\nthree\n")

    async def three() -> bool:
        return (await _read(output, path)).count(b"\n") == 3

    await watching.until(three)
    follower = output.read(path, follow=True, tail_lines=1)
    assert await anext(follower) == b"three\n"
    talker.say(b"fo")
    talker.say(b"ur\n")
    assert await anext(follower) == b"four\n"
    talker.say(b"five")
    talker.end()
    await output.finish("c")
    assert [block async for block in follower] == [b"five"]


async def test_many_lines_arrive_whole_and_in_order_across_rotations(tmp_path: Path) -> None:
    output = logs.Logs(stdio.StdioDir(tmp_path), max_size=200_000, max_files=100)
    path = tmp_path / "0.log"
    talker = Talker(await output.attach("c", path))
    following = asyncio.create_task(_read(output, path, follow=True))
    said = b"".join(b"%d\n" % number for number in range(100_000))
    await asyncio.to_thread(talker.say, said)
    await asyncio.to_thread(talker.end)
    await output.finish("c")
    assert len(logfile.rotated(path)) > 10
    for read in (await following, await _read(output, path)):
        # Not `read == said`: to show how megabytes differ takes minutes.
        assert (len(read), zlib.crc32(read)) == (len(said), zlib.crc32(said))
    await output.close()


async def test_a_process_that_keeps_the_pipe_open_does_not_keep_finish(
    output: logs.Logs, tmp_path: Path
) -> None:
    talker = Talker(await output.attach("c", tmp_path / "0.log"))
    talker.say(b"last words\n")
    await output.finish("c", grace=0.05)
    assert await _read(output, tmp_path / "0.log") == b"last words\n"
    talker.end()


async def test_a_full_disk_loses_output_but_holds_nobody_up(
    output: logs.Logs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "0.log"
    talker = Talker(await output.attach("c", path))
    real = os.write
    full = True

    def write(fd: int, data: bytes) -> int:
        if full and os.readlink(f"/proc/self/fd/{fd}") == str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(logfile.os, "write", write)  # type: ignore[attr-defined]
    for _ in range(50):
        await asyncio.to_thread(talker.say, b"lost\n" * 10_000)

    async def told() -> bool:
        return "No space left on device" in caplog.text

    await watching.until(told)
    full = False
    talker.say(b"kept\n")

    async def kept() -> bool:
        return (await _read(output, path)).endswith(b"kept\n")

    await watching.until(kept)
    talker.end()
    await output.finish("c")
    assert caplog.text.count("Cannot write") == 1


@media.needs_loop
async def test_a_medium_that_takes_no_new_log_holds_nobody_up(
    output: logs.Logs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not one that starts, and not one that ran before this process."""
    with media.ext4(tmp_path, 8) as medium:
        medium.fill_inodes()
        path = medium.path / "pod" / "0.log"
        talker = Talker(await output.attach("c", path))
        for _ in range(30):
            await asyncio.to_thread(talker.say, (b"x" * 999 + b"\n") * 100)
        medium.clear()
        talker.say(b"kept\n")

        async def kept() -> bool:
            return path.exists() and (await _read(output, path)).endswith(b"kept\n")

        await watching.until(kept)
        talker.end()
        await output.finish("c")
    assert caplog.text.count("Cannot write") == 1


async def test_memory_stays_flat_for_a_million_lines(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    block = entries(1, 10_000)
    with path.open("wb") as file:
        for _ in range(100):
            file.write(block)
    output = logs.Logs(stdio.StdioDir(tmp_path / "run"))
    tracemalloc.start()
    count = 0
    async for part in output.read(path, tail_lines=200_000):
        count += part.count(b"\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 2 * 1024 * 1024
    await output.close()
