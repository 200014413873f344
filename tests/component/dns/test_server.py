"""What the server does with datagrams and connections, whoever answers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pathlib
import random
import socket
import tracemalloc

import dns.flags
import dns.message
import dns.rcode
import pytest

from edgeorch.dns import server
from edgeorch.lib import backoff, tasks
from tests.component.dns.conftest import (
    Device,
    Resolver,
    address,
    ask,
    ask_tcp,
    client,
    exchange,
    listening,
    make,
    query,
    serving,
    values,
)

WEB = "web.default.svc.cluster.local"


async def test_cluster_names_are_answered_over_udp_and_tcp(device: Device) -> None:
    response = await ask(device, WEB)
    assert values(response) == ["10.43.7.1"]
    assert response.flags & dns.flags.AA
    assert response.flags & dns.flags.RA
    assert response.edns == -1
    (over_tcp,) = await ask_tcp(device, query(WEB))
    assert values(over_tcp) == ["10.43.7.1"]


async def test_a_connection_takes_several_queries(device: Device) -> None:
    queries = [query(WEB), query("absent." + WEB), query(WEB, "AAAA")]
    found = await ask_tcp(device, *queries)
    assert [r.rcode() for r in found] == [dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.NOERROR]
    assert [r.id for r in found] == [q.id for q in queries]


async def test_the_name_comes_back_as_it_was_written(device: Device) -> None:
    response = await ask(device, "wEb.Default.svc.CLUSTER.local")
    assert str(response.question[0].name) == "wEb.Default.svc.CLUSTER.local."
    assert str(response.answer[0].name) == "wEb.Default.svc.CLUSTER.local."


@pytest.mark.parametrize(
    ("payload", "most"), [(None, 512), (100, 512), (800, 800), (4096, 1232)], ids=str
)
async def test_what_does_not_fit_is_cut_and_whole_over_tcp(
    device: Device, payload: int | None, most: int
) -> None:
    addresses = [f"10.42.0.{n}" for n in range(1, 201)]
    device.put_headless("many", addresses)
    asked = query("many.default.svc.cluster.local", payload=payload)
    data = await exchange(device.where, asked.to_wire())
    assert most - 16 <= len(data) <= most
    response = dns.message.from_wire(data)
    assert response.flags & dns.flags.TC
    assert set(values(response)) < set(addresses)
    assert response.edns == (-1 if payload is None else 0)
    (whole,) = await ask_tcp(device, asked)
    assert set(values(whole)) == set(addresses)
    assert not whole.flags & dns.flags.TC


def header(flags: int, questions: int = 1) -> bytes:
    return (7).to_bytes(2, "big") + flags.to_bytes(2, "big") + bytes((0, questions)) + bytes(6)


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        pytest.param(header(0x0100) + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR, id="looping name"),
        pytest.param(header(0x0100) + b"\5ab", dns.rcode.FORMERR, id="cut short"),
        pytest.param(header(0x0100, 0), dns.rcode.FORMERR, id="no question"),
        pytest.param(header(0x0100) + bytes(6000), dns.rcode.FORMERR, id="oversized"),
        pytest.param(header(0x2800), dns.rcode.NOTIMP, id="UPDATE"),
        pytest.param(header(0x1000), dns.rcode.NOTIMP, id="STATUS"),
        pytest.param(query(WEB, "AXFR").to_wire(), dns.rcode.REFUSED, id="AXFR"),
        pytest.param(
            dns.message.make_query("version.bind", "TXT", "CH").to_wire(),
            dns.rcode.REFUSED,
            id="class CH",
        ),
        pytest.param(
            dns.message.make_query(WEB, "A", use_edns=1).to_wire(), dns.rcode.BADVERS, id="EDNS 1"
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused(device: Device, data: bytes, rcode: int) -> None:
    response = dns.message.from_wire(await exchange(device.where, data), ignore_trailing=True)
    assert response.rcode() == rcode
    assert response.id == int.from_bytes(data[:2], "big")
    assert response.opcode() == data[2] >> 3 & 0xF


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 11, id="no header"),
        pytest.param(header(0x8180) + b"\0\0\1\0\1", id="a response"),
    ],
)
async def test_what_is_no_query_gets_no_reply(device: Device, data: bytes) -> None:
    """An answer to an answer could go on for ever between two servers."""
    loop = asyncio.get_running_loop()
    asked = query(WEB)
    with client() as opened:
        opened.connect(device.where)
        opened.send(data)
        opened.send(asked.to_wire())
        async with asyncio.timeout(5):
            assert asked.is_response(dns.message.from_wire(await loop.sock_recv(opened, 4096)))
    reader, writer = await asyncio.open_connection(*device.where)
    writer.write(len(data).to_bytes(2, "big") + data)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_garbage_neither_stops_it_nor_leaks(device: Device) -> None:
    """Ten thousand damaged queries, half of them for names of others."""
    numbers = random.Random(5)
    whole = [query(WEB, payload=1232).to_wire(), query("x.example.com", "SRV").to_wire()]

    def damaged() -> bytes:
        data = bytearray(numbers.choice(whole))
        for _ in range(numbers.randint(1, 6)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        return bytes(data[: numbers.randint(0, len(data))])

    async def send(count: int) -> None:
        with client() as opened:
            opened.connect(device.where)
            for number in range(count):
                opened.send(damaged())
                if number % 50 == 0:
                    assert values(await ask(device, WEB)) == ["10.43.7.1"]

    await send(1000)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await send(9000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    assert device.server.pending.total == 0
    assert device.forwarder.under_way == 0
    assert device.server.queries.value("udp") > 9000


async def test_garbage_over_tcp_ends_the_connection_only(device: Device) -> None:
    numbers = random.Random(6)
    for _ in range(50):
        reader, writer = await asyncio.open_connection(*device.where)
        writer.write(numbers.randbytes(numbers.randint(0, 300)))
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
    assert values((await ask_tcp(device, query(WEB)))[0]) == ["10.43.7.1"]
    await ends(device)


async def ends(device: Device) -> None:
    async with asyncio.timeout(5):
        while device.server.connections.total:
            await asyncio.sleep(0.001)


async def test_silent_connections_are_closed(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, idle=0.05) as device:
        reader, writer = await asyncio.open_connection(*device.where)
        writer.write(b"\0")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await ends(device)


async def test_a_query_that_comes_drop_by_drop_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, idle=0.1) as device:
        reader, writer = await asyncio.open_connection(*device.where)

        async def drip() -> None:
            writer.write(b"\xff\xff")
            while True:
                writer.write(b"\0")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        try:
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                await ends(device)
        finally:
            await tasks.cancel_and_wait(dripping)
            writer.close()


async def test_one_client_cannot_take_all_connections(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, most_connections_of_one=3, most_connections=4) as device:
        opened = [await asyncio.open_connection(*device.where) for _ in range(3)]
        async with asyncio.timeout(5):
            while device.server.connections.total < 3:
                await asyncio.sleep(0)
            reader, writer = await asyncio.open_connection(*device.where)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
        writer.close()
        other = await asyncio.open_connection(*device.where, local_addr=("127.0.0.2", 0))
        await over(other)
        for _, held in opened:
            held.close()
        await ends(device)
        await over(await asyncio.open_connection(*device.where))


async def over(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """It is answered on this connection."""
    reader, writer = connection
    data = query(WEB).to_wire()
    writer.write(len(data).to_bytes(2, "big") + data)
    async with asyncio.timeout(5):
        assert await reader.readexactly(2) != b"\0\0"
    writer.close()


async def test_one_client_cannot_take_all_that_may_wait(
    tmp_path: pathlib.Path,
) -> None:
    async with (
        serving(tmp_path, most_pending_of_one=2, most_pending=3) as device,
        Resolver(address()).running() as resolver,
    ):
        device.use(resolver.address)
        resolver.held = asyncio.Event()
        waiting = [asyncio.create_task(ask(device, f"{n}.example.com")) for n in range(2)]
        await resolver.was_asked(2)
        assert (await ask(device, "third.example.com")).rcode() == dns.rcode.SERVFAIL
        assert values(await ask(device, WEB)) == ["10.43.7.1"]
        assert device.server.limited.value() == 1
        resolver.held.set()
        assert [values(await each) for each in waiting] == [["192.0.2.1"]] * 2
        assert values(await ask(device, "third.example.com")) == ["192.0.2.1"]
        assert device.server.pending.total == 0


async def test_a_taken_port_is_told_and_had_when_it_is_free(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY", backoff.Policy(0.01, 1.0, 0.01))
    device = make(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(device.where)
        running = asyncio.create_task(device.server.run())
        async with asyncio.timeout(5):
            while "address already in use" not in (device.server.health() or "").lower():
                await asyncio.sleep(0.001)
        assert "another DNS server listens" in (device.server.health() or "")
    try:
        await listening(device)
        assert values(await ask(device, WEB)) == ["10.43.7.1"]
    finally:
        await tasks.cancel_and_wait(running)


async def test_an_address_that_is_not_there_yet_is_listened_on() -> None:
    """192.0.2.0/24 is nobody's: the bridge has not come up."""
    udp, tcp = server.open_sockets("192.0.2.53", 10053)
    with udp, tcp:
        assert udp.getsockname() == tcp.getsockname() == ("192.0.2.53", 10053)


async def test_queries_wait_until_endpoints_are_known_again(tmp_path: pathlib.Path) -> None:
    """After a restart a name that is not there yet must not be denied."""
    device = make(tmp_path)
    settled = asyncio.Event()
    running = asyncio.create_task(device.server.run(settled))
    try:
        await listening(device)
        asked = asyncio.create_task(ask(device, "db.default.svc.cluster.local"))
        over_tcp = asyncio.create_task(ask_tcp(device, query("db.default.svc.cluster.local")))
        assert values(await _later(device, asked, settled)) == ["10.42.0.9"]
        assert values((await over_tcp)[0]) == ["10.42.0.9"]
    finally:
        await tasks.cancel_and_wait(running)


async def _later(
    device: Device, asked: asyncio.Task[dns.message.Message], settled: asyncio.Event
) -> dns.message.Message:
    """The query is in the socket for some rounds of the event loop before endpoints are known."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asked.done()
    device.put_headless("db", ["10.42.0.9"])
    settled.set()
    return await asked


async def test_stopping_lets_go_of_everything(tmp_path: pathlib.Path) -> None:
    where = address()
    for _ in range(2):
        async with (
            serving(tmp_path, address=where) as device,
            Resolver(address()).running() as resolver,
        ):
            device.use(resolver.address)
            resolver.held = asyncio.Event()
            waiting = asyncio.create_task(ask(device, "example.com"))
            await resolver.was_asked(1)
            _, writer = await asyncio.open_connection(*device.where)
        await tasks.cancel_and_wait(waiting)
        writer.close()
        assert device.forwarder.under_way == 0
