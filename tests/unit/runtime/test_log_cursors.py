"""A reader of a log that is rotated and compressed between any two of the reader's looks at it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeorch.runtime import logfile

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Log:
    """Its writer, which does something at one of the reader's looks, and has ended then."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.appender = logfile.Appender(path, max_size=1 << 20)
        self.said = b""
        self.looks = 0
        self.deeds: dict[int, Callable[[], None]] = {}
        for name in ("rotated", "_inode", "_source"):
            real: Callable[..., Any] = getattr(logfile, name)
            monkeypatch.setattr(logfile, name, self._watched(real))

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def look(*args: Any) -> Any:
            deed = self.deeds.pop(self.looks, None)
            self.looks += 1
            if deed is not None:
                deed()
            return real(*args)

        return look

    def say(self) -> None:
        for _ in range(3):
            line = b"%d\n" % self.said.count(b"\n")
            self.said += line
            self.appender.write(line, NOW)

    def rotate(self) -> None:
        self.say()
        self.appender.rotate(NOW)
        self.say()

    def compress(self) -> None:
        for path in logfile.rotated(self.path):
            if path.suffix != logfile.ZIPPED:
                logfile.compress(path)

    def both(self) -> None:
        self.rotate()
        self.compress()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    made = Log(tmp_path / "0.log", monkeypatch)
    yield made
    made.appender.close()


def read(cursor: logfile.Cursor) -> bytes:
    return b"".join(iter(cursor.read, b""))


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("deed", ["rotate", "compress", "both"])
@pytest.mark.parametrize("at", range(16))
def test_nothing_is_missing_and_nothing_comes_twice(
    log: Log, before: int, deed: str, at: int
) -> None:
    log.say()
    for _ in range(before):
        log.rotate()
    log.looks, log.deeds = 0, {at: getattr(log, deed)}
    cursor = logfile.Cursor(log.path, renamed=log.appender.renamed)
    found = read(cursor)
    log.deeds = {}
    found += read(cursor)  # what a follower does when there is more
    cursor.close()
    assert found == log.said


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("deed", ["rotate", "compress", "both"])
@pytest.mark.parametrize("at", range(14))
def test_the_last_lines_are_the_last_ones(log: Log, before: int, deed: str, at: int) -> None:
    log.say()
    for _ in range(before):
        log.rotate()
    log.looks, log.deeds = 0, {at: getattr(log, deed)}
    cursor = logfile.Cursor(log.path, tail_lines=8, renamed=log.appender.renamed)
    found = read(cursor)
    log.deeds = {}
    found += read(cursor)
    cursor.close()
    assert log.said.endswith(found)
    assert found.count(b"\n") >= min(8, log.said.count(b"\n"))
