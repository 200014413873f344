"""Clients of a device that are not kubectl: raw API requests and web clients in its network.

A request runs in a thread that has entered the namespace, so that one costs a millisecond and not
a process.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scripts.lablib import kernel

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def over_socket(
    path: Path,
    method: str,
    url: str,
    body: bytes | str | dict[str, Any] | None = None,
    *,
    headers: dict[str, str] | None = None,
    seconds: float = 60,
) -> Answer:
    """A request to the API's root-only unix socket; a mapping is sent as JSON."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    connection = _UnixConnection(path, seconds)
    try:
        kind = {"Content-Type": "application/json"} if data is not None else {}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # The server may answer and hang up before it has read a body that is too large.
            connection.request(method, url, data, kind | (headers or {}))
        return _answer(connection.getresponse())
    finally:
        connection.close()


def over_tls(
    port: int, method: str, url: str, *, headers: dict[str, str], seconds: float = 30
) -> Answer:
    """A request to the API on this namespace's loopback."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)
    try:
        connection.request(method, url, headers=headers)
        return _answer(connection.getresponse())
    finally:
        connection.close()


def fetch(address: str, port: int, url: str = "/", seconds: float = 5) -> Answer:
    """GET over a connection of its own, from this thread's namespace. Raises OSError."""
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        connection.request("GET", url, headers={"Connection": "close"})
        return _answer(connection.getresponse())
    finally:
        connection.close()


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, response.read(), dict(response.getheaders()))


def in_netns(name: str, function: Callable[[], T]) -> T:
    return kernel.in_netns(name, function)


@dataclass
class Steady:
    """What a client that never pauses has seen."""

    answers: Counter[bytes] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.answers.values()) + len(self.failures)


@contextlib.contextmanager
def steady(
    netns: str, address: str, port: int, url: str = "/", *, every: float = 0.01
) -> Iterator[Steady]:
    """A client with a new connection every 10 ms (or as fast as they are answered)."""
    seen = Steady()
    stop = threading.Event()

    def ask() -> None:
        began = time.monotonic()
        try:
            answer = fetch(address, port, url)
        except (OSError, http.client.HTTPException) as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
        else:
            if answer.status == 200:
                seen.answers[answer.body.strip()] += 1
            else:
                seen.failures.append(f"status {answer.status}")
        stop.wait(max(0.0, began + every - time.monotonic()))

    def run() -> None:
        while not stop.is_set():
            ask()

    thread = threading.Thread(target=kernel.in_netns, args=(netns, run))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
