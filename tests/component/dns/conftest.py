"""A DNS server on loopback addresses of its own, and resolvers behind it that do as they are told.

Each test draws addresses under 127/8 that nobody else uses, so that ports may be fixed.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import socket
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from edgeorch.core import dns_records, dns_zone
from edgeorch.dns import answering, forward, server, settings
from edgeorch.lib import clock as clocks
from edgeorch.lib import json, tasks
from edgeorch.model import views

PORT, RESOLVER_PORT = 10053, 20053

Answer = Callable[[dns.message.Message], dns.message.Message | None]


def address() -> str:
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"


def records(*lines: str) -> Answer:
    """A resolver that has these records, as in a zone file, whatever the name."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name
        for line in lines:
            owner, _, rest = line.partition(" ")
            ttl, kind, value = rest.split(" ", 2)
            rrset = dns.rrset.from_text(
                name if owner == "@" else owner, int(ttl), "IN", kind, value
            )
            section = response.authority if kind == "SOA" else response.answer
            section.append(rrset)
        return response

    return answer


def failing(rcode: int, *lines: str) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = records(*lines)(query)
        assert response is not None
        response.set_rcode(dns.rcode.Rcode.make(rcode))
        return response

    return answer


def silence(_: dns.message.Message) -> None:
    return None


def truncated(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response


class Resolver(asyncio.DatagramProtocol):
    """One of the host's resolvers."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answer: Answer = records("@ 60 A 192.0.2.1")
        self.answer_tcp: Answer = records("@ 60 A 192.0.2.2")
        self.raw: bytes | None = None
        """Sent before each answer: what a forger would."""
        self.held: asyncio.Event | None = None
        self.asked: list[dns.message.Message] = []
        self.ports: list[int] = []
        self.news = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = typing.cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self.ports.append(addr[1])
        self.news.set()
        task = asyncio.ensure_future(self._reply(query, addr))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _reply(self, query: dns.message.Message, addr: tuple[str, int]) -> None:
        if self.held is not None:
            await self.held.wait()
        assert self._transport is not None
        if self.raw is not None:
            self._transport.sendto(self.raw, addr)
        answer = self.answer(query)
        if answer is not None:
            self._transport.sendto(answer.to_wire(), addr)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = self.answer_tcp(dns.message.from_wire(await reader.readexactly(length)))
            if answer is not None:
                data = answer.to_wire(max_size=65535)
                writer.write(len(data).to_bytes(2, "big") + data)
                await writer.drain()
        writer.close()

    async def was_asked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < times:
                self.news.clear()
                await self.news.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Resolver]:
        loop = asyncio.get_running_loop()
        where = (self.address, RESOLVER_PORT)
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=where)
        listener = await asyncio.start_server(self.converse, *where)
        try:
            yield self
        finally:
            await tasks.cancel_and_wait(*self._waiting)
            transport.close()
            listener.close()


@dataclass
class Device:
    settings: settings.Settings
    clock: clocks.ManualClock
    zone: dns_zone.Zone
    forwarder: forward.Forwarder
    server: server.Server
    own: set[str] = field(default_factory=set)

    @property
    def where(self) -> tuple[str, int]:
        return self.settings.address, self.settings.port

    def use(self, *addresses: str) -> None:
        """These are the host's resolvers from now on."""
        lines = [f"nameserver {each}" for each in addresses]
        scratch = self.settings.resolv_conf.with_suffix(".new")
        scratch.write_text("\n".join(["search lan", *lines, ""]))
        scratch.rename(self.settings.resolv_conf)

    def put(self, name: str, **spec: object) -> None:
        obj = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        made = views.decode(json.encode(obj), views.Service)
        self.zone.put(("default", name), dns_records.service_records(made, [], self.zone.domain))

    def put_headless(self, name: str, addresses: list[str]) -> None:
        endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in addresses]
        found = views.decode(
            json.encode({"metadata": {"name": name}, "endpoints": endpoints}), views.EndpointSlice
        )
        obj = {"metadata": {"name": name, "namespace": "default"}, "spec": {"clusterIP": "None"}}
        made = views.decode(json.encode(obj), views.Service)
        self.zone.put(
            ("default", name), dns_records.service_records(made, [found], self.zone.domain)
        )


@contextlib.contextmanager
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(("127.0.0.1", 0))
        yield made


async def exchange(where: tuple[str, int], data: bytes, seconds: float = 5.0) -> bytes:
    """One datagram there and one back."""
    loop = asyncio.get_running_loop()
    with client() as opened:
        opened.connect(where)
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(opened, data)
            return await loop.sock_recv(opened, 65535)


def query(name: str, kind: str = "A", payload: int | None = None) -> dns.message.Message:
    made = dns.message.make_query(name, kind)
    if payload is not None:
        made.use_edns(payload=payload)
    return made


async def ask(
    device: Device, name: str, kind: str = "A", payload: int | None = None
) -> dns.message.Message:
    asked = query(name, kind, payload)
    response = dns.message.from_wire(await exchange(device.where, asked.to_wire()))
    assert asked.is_response(response)
    return response


async def ask_tcp(device: Device, *queries: dns.message.Message) -> list[dns.message.Message]:
    """All over one connection, sent at once."""
    reader, writer = await asyncio.open_connection(*device.where)
    try:
        for each in queries:
            data = each.to_wire()
            writer.write(len(data).to_bytes(2, "big") + data)
        found = []
        async with asyncio.timeout(5):
            for _ in queries:
                length = int.from_bytes(await reader.readexactly(2), "big")
                found.append(dns.message.from_wire(await reader.readexactly(length)))
        return found
    finally:
        writer.close()
        await writer.wait_closed()


def values(response: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in response.answer for rdata in rrset]


def make(path: pathlib.Path, **changes: object) -> Device:
    """Not running yet."""
    given: dict[str, object] = {
        "address": address(),
        "service_address": "10.43.0.10",
        "pod_cidr": "10.42.0.0/24",
        "service_cidr": "10.43.0.0/16",
        "resolv_conf": path / "resolv.conf",
        "port": PORT,
        "resolver_port": RESOLVER_PORT,
    }
    chosen = settings.Settings(**(given | changes))  # type: ignore[arg-type]
    clock = clocks.ManualClock()
    zone = dns_zone.Zone(
        chosen.domain, chosen.service_address, [chosen.pod_cidr, chosen.service_cidr]
    )
    zone.put_namespace("default", True)
    forwarder = forward.Forwarder(chosen, clock)
    own: set[str] = set()
    answers = answering.Answering(zone, forwarder, chosen, clock, lambda: own)
    made = Device(chosen, clock, zone, forwarder, server.Server(answers, chosen), own)
    made.put("web", clusterIP="10.43.7.1", ports=[{"name": "http", "port": 80}])
    return made


@contextlib.asynccontextmanager
async def serving(path: pathlib.Path, **changes: object) -> AsyncIterator[Device]:
    made = make(path, **changes)
    running = asyncio.create_task(made.server.run())
    try:
        await listening(made)
        yield made
    finally:
        await tasks.cancel_and_wait(running)


async def listening(made: Device) -> None:
    async with asyncio.timeout(5):
        while made.server.health() is not None:
            await asyncio.sleep(0)


@pytest.fixture
async def device(tmp_path: pathlib.Path) -> AsyncIterator[Device]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def resolver(device: Device) -> AsyncIterator[Resolver]:
    """The only resolver, which answers 192.0.2.1 for a minute."""
    async with Resolver(address()).running() as made:
        device.use(made.address)
        yield made


@pytest.fixture
async def second(device: Device) -> AsyncIterator[Resolver]:
    """Another one, not in resolv.conf yet."""
    async with Resolver(address()).running() as made:
        made.answer = records("@ 60 A 192.0.2.9")
        yield made
