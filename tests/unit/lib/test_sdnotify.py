"""systemd is told over a datagram socket, by path or abstract name."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest

from edgeorch.lib import sdnotify


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_lines_arrive_in_one_datagram(
    abstract: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"\0edgeorch-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        assert sdnotify.notify("READY=1", "STATUS=serving")
        assert receiver.recv(100) == b"READY=1\nSTATUS=serving"


def test_nobody_to_tell_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sdnotify.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "absent"))
    assert not sdnotify.notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        pytest.param("60000000", "", 30.0, id="half-of-what-is-allowed"),
        pytest.param("60000000", str(os.getpid()), 30.0, id="meant-for-us"),
        pytest.param("60000000", "1", None, id="meant-for-another"),
        pytest.param("", "", None, id="none-asked"),
    ],
)
def test_watchdog_interval(
    usec: str, pid: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert sdnotify.watchdog_interval() == seconds
