"""Entries reach journald as it reads them, it is never waited for, and text is for all others."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pathlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import journal


def decoded(data: bytes) -> dict[str, bytes]:
    """https://systemd.io/JOURNAL_EXPORT_FORMATS/, one entry."""
    found: dict[str, bytes] = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, is_text, value = head.partition(b"=")
        if not is_text:
            (length,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + length], data[8 + length :]
            assert data[:1] == b"\n"
            data = data[1:]
        assert name.decode() not in found
        found[name.decode()] = value
    return found


_NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,63}", fullmatch=True)


@given(st.dictionaries(_NAMES, st.text(), max_size=6))
def test_any_entry_arrives_as_it_was(entry: dict[str, str]) -> None:
    told = {name: text.encode(errors="replace") for name, text in entry.items()}
    assert decoded(journal.encode(entry)) == told


@pytest.mark.parametrize("text", ["a\n", "\n", "a\nb=c\n\n", "=", "\x00", "\x1c\x85", "\udcff"])
def test_hard_values(text: str) -> None:
    entry = journal.encode({"BEFORE": "x", "VALUE": text, "AFTER": "y"})
    told = decoded(entry)
    assert told == {"BEFORE": b"x", "VALUE": text.encode(errors="replace"), "AFTER": b"y"}


@pytest.mark.parametrize("name", ["", "_PID", "1ST", "lower", "A-B", "A=B", "A\nB", "A" * 65, "Ä"])
def test_a_name_that_journald_drops_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        journal.encode({name: "x"})


@given(st.integers(32_760, 32_780), st.sampled_from(["x", "é", "€", "\U0001f600", "\n"]))
def test_what_is_too_long_for_a_datagram_is_cut(count: int, letter: str) -> None:
    told = decoded(journal.encode({"MESSAGE": letter * count}))["MESSAGE"].decode()
    assert len(told.encode()) <= 32 * 1024 + 3
    assert told.strip(letter) == ("…" if len((letter * count).encode()) > 32 * 1024 else "")


# --- the handler --------------------------------------------------------------------------------


class Journald:
    """The receiving end, as systemd-journald.socket has it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.listen()

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))

    def close(self) -> None:
        self._socket.close()

    def take(self) -> list[dict[str, bytes]]:
        """All entries that are there."""
        found: list[dict[str, bytes]] = []
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return found
            if data:
                found.append(decoded(data))


@pytest.fixture
def journald(tmp_path: pathlib.Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def handler(journald: Journald) -> Iterator[journal.Handler]:
    made = journal.Handler(journald.path)
    yield made
    made.close()


@pytest.fixture
def log(handler: journal.Handler) -> Iterator[logging.Logger]:
    found = logging.getLogger("edgeorch.test_journal")
    found.addHandler(handler)
    found.setLevel(logging.DEBUG)
    found.propagate = False
    yield found
    found.removeHandler(handler)
    found.propagate = True


def test_a_line_has_its_fields(log: logging.Logger, journald: Journald) -> None:
    log.warning("%s of %d\nand more", "one", 2, extra=journal.fields("00ff", bundle="shop"))
    (entry,) = journald.take()
    line = int(entry.pop("CODE_LINE"))
    assert 0 < line < 1000
    assert entry == {
        "MESSAGE": b"one of 2\nand more",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"edgeorch",
        "LOGGER": b"edgeorch.test_journal",
        "CODE_FILE": __file__.encode(),
        "CODE_FUNC": b"test_a_line_has_its_fields",
        "EDGEORCH_BUNDLE": b"shop",
        "MESSAGE_ID": b"00ff",
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, b"7"),
        (logging.INFO, b"6"),
        (logging.WARNING, b"4"),
        (logging.ERROR, b"3"),
        (logging.CRITICAL, b"2"),
        (35, b"3"),
    ],
)
def test_levels(log: logging.Logger, journald: Journald, level: int, priority: bytes) -> None:
    log.log(level, "x")
    assert [entry["PRIORITY"] for entry in journald.take()] == [priority]


def test_an_exception_is_in_the_message(log: logging.Logger, journald: Journald) -> None:
    try:
        raise KeyError("here")
    except KeyError:
        log.exception("it failed")
    (entry,) = journald.take()
    assert entry["MESSAGE"].startswith(b"it failed\nTraceback")
    assert entry["MESSAGE"].endswith(b"KeyError: 'here'")


async def test_what_it_is_about_goes_along_with_tasks(
    log: logging.Logger, journald: Journald
) -> None:
    async def later() -> None:
        await asyncio.sleep(0)
        log.info("later")

    with journal.about(pod="default/web"):
        task = asyncio.create_task(later())
        with journal.about(controller="jobs", pod="default/other"):
            log.info("within")
        log.info("around")
    log.info("outside", extra=journal.fields(pod="own"))
    await task
    named = {
        entry["MESSAGE"]: (entry.get("EDGEORCH_POD"), entry.get("EDGEORCH_CONTROLLER"))
        for entry in journald.take()
    }
    assert named == {
        b"within": (b"default/other", b"jobs"),
        b"around": (b"default/web", None),
        b"outside": (b"own", None),
        b"later": (b"default/web", None),
    }


def test_a_journal_that_is_stuck_is_not_waited_for(
    log: logging.Logger, handler: journal.Handler, journald: Journald
) -> None:
    journald.take()
    count = 0
    while not handler.dropped:
        log.info("line %d", count)
        count += 1
    log.info("one more")
    taken = journald.take()
    assert [entry["MESSAGE"] for entry in taken] == [b"line %d" % n for n in range(count - 1)]
    log.info("it works again")
    told, lost = journald.take()
    assert told["MESSAGE"] == b"it works again"
    assert lost["MESSAGE"].startswith(b"2 lines of the log are lost")
    assert lost["PRIORITY"] == b"4"
    log.info("once is enough")
    assert len(journald.take()) == 1
    assert handler.dropped == 2


def test_a_journal_that_was_started_anew_is_found(
    log: logging.Logger, handler: journal.Handler, journald: Journald
) -> None:
    journald.close()
    log.info("nobody is there")
    journald.listen()
    log.info("somebody is")
    assert journald.take()[0]["MESSAGE"] == b"somebody is"
    assert handler.dropped == 1


def test_a_line_that_cannot_be_written_ends_nothing(
    log: logging.Logger,
    handler: journal.Handler,
    journald: Journald,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = logging.LogRecord("edgeorch.x", logging.INFO, "", 1, "%d", ("no number",), None)
    handler.handle(broken)
    assert "Logging error" in capsys.readouterr().err
    log.info("x", extra=journal.fields(**{"not-a-name": "y"}))
    assert "not the name of a field" in capsys.readouterr().err
    log.info("the next one")
    assert [entry["MESSAGE"] for entry in journald.take()] == [b"the next one"]


# --- which way ----------------------------------------------------------------------------------


def _stderr_is_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


def test_under_systemd_it_is_the_journal(
    journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stderr_is_the_journal(monkeypatch)
    found = journal.handler(journald.path)
    assert isinstance(found, journal.Handler)
    assert journald.take() == []
    # As basicConfig does it: the message is to be nothing but the message.
    assert found.formatter is not None
    found.handle(logging.LogRecord("edgeorch.x", logging.WARNING, "", 1, "one", (), None))
    assert [entry["MESSAGE"] for entry in journald.take()] == [b"one"]
    found.close()


def _shown(found: logging.Handler) -> str:
    assert isinstance(found, logging.StreamHandler)
    found.setStream(shown := io.StringIO())
    record = logging.LogRecord("edgeorch.x", logging.WARNING, "", 1, "one\ntwo", (), None)
    found.handle(record)
    return shown.getvalue()


def test_without_its_socket_lines_have_a_priority(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stderr_is_the_journal(monkeypatch)
    assert _shown(journal.handler(tmp_path / "absent")) == "<4>edgeorch.x: one\n<4>two\n"


@pytest.mark.parametrize("told", ["", "1:2", "nonsense"])
def test_elsewhere_it_is_text_for_people(
    journald: Journald, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """As where a shell's JOURNAL_STREAM is still there and stderr is a file."""
    monkeypatch.setenv("JOURNAL_STREAM", told)
    assert _shown(journal.handler(journald.path)).endswith(" WARNING edgeorch.x: one\ntwo\n")
