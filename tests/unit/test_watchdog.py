"""Whoever watches the process hears from its event loop, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import time

import pytest

from edgeorch import app
from edgeorch.lib import tasks


@pytest.mark.ask(29)
async def test_signs_of_life_end_while_the_loop_hangs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        async with tasks.running({"watchdog": app._feed_watchdog}):
            for _ in range(3):
                assert await loop.sock_recv(receiver, 100) == b"WATCHDOG=1"
            with contextlib.suppress(BlockingIOError):
                while receiver.recv(100):
                    pass
            time.sleep(0.1)  # as work does that never awaits
            with pytest.raises(BlockingIOError):
                receiver.recv(100)
            assert await loop.sock_recv(receiver, 100) == b"WATCHDOG=1"
