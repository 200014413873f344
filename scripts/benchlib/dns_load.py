"""DNS under load: rate and latency of a server, as a client without dependencies sees them.

`paced` sends at a fixed rate, whatever the server does, and measures from the moment a query was
due, so that a stall is charged to every query that it delayed. `saturated` keeps a number of
queries under way and finds how many the server answers in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import time
from typing import Any

Result = dict[str, Any]

TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "SRV": 33}


def encode(query_id: int, name: str, kind: str) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    tail = b"\0" + struct.pack("!HH", TYPES[kind], 1)
    return struct.pack("!6H", query_id, 0x0100, 1, 0, 0, 0) + labels + tail


class _Client(asyncio.DatagramProtocol):
    """Sends, and knows what became of each query."""

    def __init__(self, questions: list[tuple[str, str]]) -> None:
        self._questions = questions
        self._due: dict[int, float] = {}
        self._next = 0
        self.seconds: list[float] = []
        self.failed = 0
        self.landed = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, due: float) -> None:
        name, kind = self._questions[self._next % len(self._questions)]
        query_id = self._next & 0xFFFF
        self._next += 1
        self._due[query_id] = due
        self.transport.sendto(encode(query_id, name, kind))

    def datagram_received(self, data: bytes, addr: object) -> None:
        due = self._due.pop(data[0] << 8 | data[1], None)
        if due is None:
            return
        self.seconds.append(time.perf_counter() - due)
        self.failed += data[3] & 0xF not in (0, 3)
        self.landed.set()

    @property
    def outstanding(self) -> int:
        return len(self._due)


async def _client(address: str, port: int, questions: list[tuple[str, str]]) -> _Client:
    loop = asyncio.get_running_loop()
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    opened.connect((address, port))
    _, client = await loop.create_datagram_endpoint(lambda: _Client(questions), sock=opened)
    return client


def _summary(client: _Client, seconds: float) -> Result:
    ordered = sorted(client.seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {
        "answers": len(ordered),
        "failed": client.failed,
        "per second": round(len(ordered) / seconds),
        "p50 ms": at(0.5),
        "p99 ms": at(0.99),
        "worst ms": at(1.0),
    }


async def paced(
    address: str, port: int, questions: list[tuple[str, str]], rate: int, seconds: float
) -> Result:
    """`rate` queries a second, whatever the server does."""
    client = await _client(address, port, questions)
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        client.send(due)
    taken = time.perf_counter() - started
    await asyncio.sleep(0.5)
    client.transport.close()
    return {**_summary(client, taken), "lost": client.outstanding}


async def saturated(
    address: str, port: int, questions: list[tuple[str, str]], under_way: int, seconds: float
) -> Result:
    """As many as are answered while `under_way` queries always are."""
    client = await _client(address, port, questions)
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        while client.outstanding < under_way:
            client.send(now)
        client.landed.clear()
        try:
            async with asyncio.timeout(1.0):
                await client.landed.wait()
        except TimeoutError:
            break
    taken = time.perf_counter() - started
    client.transport.close()
    return _summary(client, taken)


async def measure(address: str, port: int, questions: list[tuple[str, str]]) -> Result:
    """What `scripts/bench` shows of DNS."""
    return {
        "1,000 a second": await paced(address, port, questions, 1000, 10.0),
        "one at a time": await saturated(address, port, questions, 1, 3.0),
        "32 under way": await saturated(address, port, questions, 32, 5.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the server, such as 10.43.0.10")
    parser.add_argument("--port", type=int, default=53)
    parser.add_argument("--name", action="append", help="asked for; may be given several times")
    chosen = parser.parse_args()
    names = chosen.name or ["kubernetes.default.svc.cluster.local"]
    questions = [(name, kind) for name in names for kind in ("A", "AAAA")]
    print(json.dumps(asyncio.run(measure(chosen.address, chosen.port, questions)), indent=2))


if __name__ == "__main__":
    main()
