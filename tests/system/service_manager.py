"""What systemd does with edgeorch.service, on a device that has none.

Type=notify with NotifyAccess=main, Restart=always, TimeoutStartSec and WatchdogSec: a thread starts
the program, listens to it (sd_notify(3)), kills it where its time is over and starts it again.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import lab as labs

_LARGEST = 4096
_CREDENTIALS = struct.Struct("3i")
_PAUSE = 0.05
"""RestartSec."""


class ServiceManager:
    def __init__(
        self, lab: labs.Lab, program: Path, start_seconds: Callable[[], float], watchdog: float
    ) -> None:
        self._lab = lab
        self._program = program
        self._start_seconds = start_seconds
        self._watchdog = watchdog
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._path = lab.device.run / "manager.sock"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.log = lab.device.data / "manager.log"
        self.starts: list[int] = []
        """The process ids of all that were started."""
        self.ready: list[int] = []
        """Of those that have said that they are."""
        self.alive: list[int] = []
        """For each WATCHDOG=1 who said it."""
        self.late: list[int] = []
        """Of those that were killed because they said nothing for too long."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ServiceManager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.restart()
        self._thread.join()
        self._socket.close()

    @property
    def pid(self) -> int:
        return self.starts[-1] if self.starts else 0

    def restart(self) -> None:
        """`systemctl restart`: it is started again when it has ended."""
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _run(self) -> None:
        while not self._ended.is_set():
            command = [str(self._program), "serve", "--config", str(self._lab.device.config)]
            full, env = self._lab.command(*command)
            env |= {
                "NOTIFY_SOCKET": str(self._path),
                "WATCHDOG_USEC": str(int(self._watchdog * 1e6)),
                "EDGEORCH_UNIT": str(self._lab.device.run / "edgeorch.service"),
            }
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(full, env=env, stdout=log, stderr=log)
            self.starts.append(self._process.pid)
            self._attend(self._process)
            self._ended.wait(_PAUSE)

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Until it has ended."""
        began, heard_at = time.monotonic(), 0.0
        end = os.pidfd_open(process.pid)
        try:
            while process.poll() is None:
                due = heard_at + self._watchdog if heard_at else began + self._start_seconds()
                patience = due - time.monotonic()
                if patience <= 0:
                    self._end_late(process)
                    return
                heard, _, _ = select.select([end, self._socket.fileno()], [], [], patience)
                if self._socket.fileno() in heard and self._hear(process.pid):
                    heard_at = time.monotonic()
        finally:
            os.close(end)

    def _end_late(self, process: subprocess.Popen[bytes]) -> None:
        if process.pid in self.ready:
            self.late.append(process.pid)
        process.kill()
        process.wait()

    def _hear(self, main: int) -> bool:
        """Whether it was a sign of life of the main process; others are not listened to."""
        size = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * 16)
        data, others, _, _ = self._socket.recvmsg(_LARGEST, size)
        sender = 0
        for _level, kind, content in others:
            if kind == socket.SCM_RIGHTS:
                for (fd,) in struct.iter_unpack("i", content):
                    os.close(fd)
            elif kind == socket.SCM_CREDENTIALS:
                sender = _CREDENTIALS.unpack(content)[0]
        if sender != main:
            return False
        said = data.decode().splitlines()
        if "READY=1" in said:
            self.ready.append(main)
        if "WATCHDOG=1" in said:
            self.alive.append(main)
        return "READY=1" in said or "WATCHDOG=1" in said
