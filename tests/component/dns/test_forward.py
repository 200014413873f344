"""Names of others: from the host's resolvers, kept as long as they may be, or failed at once."""

from __future__ import annotations

import asyncio
import pathlib
import time

import dns.flags
import dns.message
import dns.rcode
import pytest
from msgspec import structs

from edgeorch.dns import cache, forward, resolvers
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.wire import dns as codec
from tests.component.dns.conftest import (
    RESOLVER_PORT,
    Device,
    Resolver,
    address,
    ask,
    ask_tcp,
    exchange,
    failing,
    query,
    records,
    serving,
    silence,
    truncated,
    values,
)

SOA = "example.com. 900 SOA ns.example.com. admin.example.com. 1 2 3 4 30"


async def test_others_names_come_from_the_resolver(device: Device, resolver: Resolver) -> None:
    resolver.answer = records("@ 60 CNAME web.example.net.", "web.example.net. 60 A 192.0.2.80")
    response = await ask(device, "www.example.com", payload=1232)
    assert values(response) == ["web.example.net.", "192.0.2.80"]
    assert response.flags & dns.flags.RA
    assert not response.flags & dns.flags.AA
    (asked,) = resolver.asked
    assert str(asked.question[0].name) == "www.example.com."
    assert asked.flags & dns.flags.RD
    assert asked.payload == forward.PAYLOAD


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("MX", "@ 60 MX 10 mail.example.com."),
        ("HTTPS", '@ 60 HTTPS 1 . alpn="h2"'),
        ("CAA", '@ 60 CAA 0 issue "ca.example.com"'),
        ("NAPTR", '@ 60 NAPTR 1 2 "u" "sip" "" x.example.com.'),
        ("TXT", '@ 60 TXT "some text" "more"'),
    ],
)
async def test_any_type_passes(device: Device, resolver: Resolver, kind: str, line: str) -> None:
    resolver.answer = records(line)
    first = await ask(device, "example.com", kind)
    assert values(first) == [line.partition(f"{kind} ")[2]]
    assert values(await ask(device, "example.com", kind)) == values(first)
    assert len(resolver.asked) == 1


@pytest.mark.parametrize(
    "name",
    [
        "www.example.com.default.svc.cluster.local",
        "www.example.com.svc.cluster.local",
        "www.example.com.cluster.local",
        "absent.cluster.local",
        "9.9.43.10.in-addr.arpa",
        "9.0.42.10.in-addr.arpa",
    ],
)
async def test_what_is_the_clusters_is_never_asked_outside(
    device: Device, resolver: Resolver, name: str
) -> None:
    assert (await ask(device, name)).rcode() == dns.rcode.NXDOMAIN
    assert resolver.asked == []


# --- the cache ----------------------------------------------------------------------------------


async def test_answers_are_kept_for_their_ttl(device: Device, resolver: Resolver) -> None:
    assert [r.ttl for r in (await ask(device, "example.com")).answer] == [60]
    device.clock.advance(59.5)
    kept = await ask(device, "EXAMPLE.com")
    assert [r.ttl for r in kept.answer] == [1]
    assert str(kept.question[0].name) == "EXAMPLE.com."
    assert values((await ask_tcp(device, query("example.com")))[0]) == ["192.0.2.1"]
    assert len(resolver.asked) == 1
    device.clock.advance(0.5)
    assert [r.ttl for r in (await ask(device, "example.com")).answer] == [60]
    assert len(resolver.asked) == 2


@pytest.mark.parametrize(
    ("rcode", "lines", "seconds"),
    [
        pytest.param(dns.rcode.NXDOMAIN, [SOA], 30, id="no such name: the SOA's minimum"),
        pytest.param(dns.rcode.NOERROR, [SOA], 30, id="no such type"),
        pytest.param(dns.rcode.NXDOMAIN, [SOA.replace("30", "9999")], 60, id="never for long"),
        pytest.param(dns.rcode.NXDOMAIN, [SOA.replace("900", "3")], 3, id="the SOA's own TTL"),
        pytest.param(
            dns.rcode.NXDOMAIN, ["@ 2 CNAME gone.example.com.", SOA], 2, id="an alias to nowhere"
        ),
    ],
)
async def test_absence_is_kept_as_long_as_the_soa_says(
    device: Device, resolver: Resolver, rcode: int, lines: list[str], seconds: int
) -> None:
    resolver.answer = failing(rcode, *lines)
    for _ in range(2):
        response = await ask(device, "absent.example.com")
        assert response.rcode() == rcode
        assert [rrset.rdtype.name for rrset in response.authority] == ["SOA"]
        assert len(resolver.asked) == 1
    device.clock.advance(seconds)
    await ask(device, "absent.example.com")
    assert len(resolver.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(failing(dns.rcode.NXDOMAIN), id="no SOA"),
        pytest.param(records("@ 0 A 192.0.2.1"), id="TTL of zero"),
    ],
)
async def test_what_may_not_be_kept(device: Device, resolver: Resolver, answer: object) -> None:
    resolver.answer = answer  # type: ignore[assignment]
    for times in (1, 2):
        await ask(device, "example.com")
        assert len(resolver.asked) == times


async def test_types_are_kept_apart(device: Device, resolver: Resolver) -> None:
    await ask(device, "example.com", "A")
    resolver.answer = records("@ 60 AAAA 2001:db8::1")
    assert values(await ask(device, "example.com", "AAAA")) == ["2001:db8::1"]
    assert values(await ask(device, "example.com", "A")) == ["192.0.2.1"]


async def test_a_kept_answer_is_cut_for_whom_it_is_too_long(
    device: Device, resolver: Resolver
) -> None:
    resolver.answer = records(*[f"@ 60 A 192.0.2.{n}" for n in range(60)])
    assert len(values(await ask(device, "example.com", payload=1232))) == 60
    short = await ask(device, "example.com")
    assert short.flags & dns.flags.TC
    assert 0 < len(values(short)) < 60
    assert len(values((await ask_tcp(device, query("example.com")))[0])) == 60
    assert len(resolver.asked) == 1


async def test_the_cache_stays_within_its_bounds(tmp_path: pathlib.Path) -> None:
    async with (
        serving(tmp_path, cache_entries=8, cache_bytes=6000) as device,
        Resolver(address()).running() as resolver,
    ):
        device.use(resolver.address)
        for number in range(30):
            resolver.answer = records(f'@ 60 TXT "{"x" * (number % 3) * 100}"')
            await ask(device, f"{number}.example.com", "TXT", payload=1232)
            assert len(device.forwarder.cached) <= 8
            assert device.forwarder.cached.octets <= 6000
        await ask(device, "29.example.com", "TXT")
        assert len(resolver.asked) == 30
        await ask(device, "0.example.com", "TXT")
        assert len(resolver.asked) == 31


# --- one question at a time ---------------------------------------------------------------------


async def test_the_same_question_is_asked_once(device: Device, resolver: Resolver) -> None:
    resolver.held = asyncio.Event()
    waiting = [asyncio.create_task(ask(device, "Example.com")) for _ in range(20)]
    async with asyncio.timeout(5):
        while device.server.pending.total < 20:
            await asyncio.sleep(0)
    resolver.held.set()
    assert [values(await each) for each in waiting] == [["192.0.2.1"]] * 20
    assert len(resolver.asked) == 1


async def test_an_asker_that_leaves_does_not_take_the_answer_along(
    device: Device, resolver: Resolver
) -> None:
    resolver.held = asyncio.Event()
    question = codec.Question(codec.name("example.com"), codec.A)
    async with asyncio.TaskGroup() as group:
        assert device.forwarder.known(question) is None
        leaving, staying = [
            asyncio.create_task(device.forwarder.resolve(question, group)) for _ in range(2)
        ]
        await resolver.was_asked(1)
        await tasks.cancel_and_wait(leaving)
        resolver.held.set()
        assert await staying is not None
    assert values(await ask(device, "example.com")) == ["192.0.2.1"]
    assert len(resolver.asked) == 1


async def test_a_question_that_comes_back_joins_the_one_under_way(
    tmp_path: pathlib.Path,
) -> None:
    """The host's forwarder asks us again: a loop, which must not multiply."""
    async with (
        serving(tmp_path, attempt=0.2) as device,
        Resolver(address()).running() as resolver,
    ):
        device.use(resolver.address)

        async def back(asked: dns.message.Message) -> None:
            await exchange(device.where, asked.to_wire())

        loops = []

        def answer(asked: dns.message.Message) -> None:
            loops.append(asyncio.ensure_future(back(asked)))

        resolver.answer = answer
        response = await ask(device, "example.com")
        assert response.rcode() == dns.rcode.SERVFAIL
        assert len(resolver.asked) == forward.ROUNDS
        await asyncio.gather(*loops)
        assert device.forwarder.under_way == 0


async def test_ports_and_ids_differ(device: Device, resolver: Resolver) -> None:
    for number in range(20):
        await ask(device, f"{number}.example.com")
    assert len(set(resolver.ports)) > 15
    assert len({asked.id for asked in resolver.asked}) > 15


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda real: b"", id="empty"),
        pytest.param(lambda real: b"\xff" * 40, id="garbage"),
        pytest.param(lambda real: bytes((real[0] ^ 1,)) + real[1:], id="another id"),
        pytest.param(lambda real: real.replace(b"\7example", b"\7exbmple"), id="another name"),
    ],
)
async def test_what_does_not_match_the_question_is_not_looked_at(
    device: Device, resolver: Resolver, forged: object
) -> None:
    honest = resolver.answer

    def answer(asked: dns.message.Message) -> dns.message.Message | None:
        wrong = records("@ 60 A 203.0.113.66")(asked)
        assert wrong is not None
        assert resolver._transport is not None
        resolver._transport.sendto(
            forged(wrong.to_wire()),  # type: ignore[operator]
            ("127.0.0.1", resolver.ports[-1]),
        )
        return honest(asked)

    resolver.answer = answer
    assert values(await ask(device, "example.com")) == ["192.0.2.1"]


# --- resolvers that fail ------------------------------------------------------------------------


async def test_a_cut_answer_is_asked_for_over_tcp(device: Device, resolver: Resolver) -> None:
    resolver.answer = truncated
    assert values(await ask(device, "example.com")) == ["192.0.2.2"]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED], ids=str)
async def test_who_refuses_gives_way_to_the_next(
    device: Device, resolver: Resolver, second: Resolver, rcode: int
) -> None:
    device.use(resolver.address, second.address)
    resolver.answer = failing(rcode)
    assert values(await ask(device, "example.com")) == ["192.0.2.9"]
    resolver.answer = second.answer = failing(rcode)
    assert (await ask(device, "other.example.com")).rcode() == dns.rcode.SERVFAIL


async def test_one_that_does_not_know_edns_is_asked_without(
    device: Device, resolver: Resolver
) -> None:
    honest = resolver.answer

    def answer(asked: dns.message.Message) -> dns.message.Message | None:
        return failing(dns.rcode.FORMERR)(asked) if asked.edns >= 0 else honest(asked)

    resolver.answer = answer
    assert values(await ask(device, "a.example.com")) == ["192.0.2.1"]
    assert values(await ask(device, "b.example.com")) == ["192.0.2.1"]
    assert [asked.edns for asked in resolver.asked] == [0, -1, -1]


async def test_a_closed_port_gives_way_at_once(device: Device, second: Resolver) -> None:
    device.use(address(), second.address)
    started = time.monotonic()
    assert values(await ask(device, "example.com")) == ["192.0.2.9"]
    assert time.monotonic() - started < device.settings.attempt / 2


async def test_a_silent_one_gives_way_after_an_attempt(tmp_path: pathlib.Path) -> None:
    async with (
        serving(tmp_path, attempt=0.05) as device,
        Resolver(address()).running() as silent,
        Resolver(address()).running() as able,
    ):
        silent.answer = silence
        device.use(silent.address, able.address)
        for number in range(resolvers.FAILURES + 3):
            assert values(await ask(device, f"{number}.example.com")) == ["192.0.2.1"]
        assert len(silent.asked) == resolvers.FAILURES


async def test_when_all_are_down_most_questions_fail_at_once(tmp_path: pathlib.Path) -> None:
    async with (
        serving(tmp_path, attempt=0.05) as device,
        Resolver(address()).running() as resolver,
    ):
        device.use(resolver.address)
        resolver.answer = silence
        for number in range(resolvers.FAILURES + 5):
            assert (await ask(device, f"{number}.example.com")).rcode() == dns.rcode.SERVFAIL
        assert len(resolver.asked) == resolvers.FAILURES
        resolver.answer = records("@ 60 A 192.0.2.1")
        assert (await ask(device, "early.example.com")).rcode() == dns.rcode.SERVFAIL
        device.clock.advance(resolvers.REST.initial)
        assert values(await ask(device, "later.example.com")) == ["192.0.2.1"]
        assert values(await ask(device, "again.example.com")) == ["192.0.2.1"]


async def test_a_changed_network_is_another_chance(tmp_path: pathlib.Path) -> None:
    async with (
        serving(tmp_path, attempt=0.05) as device,
        Resolver(address()).running() as resolver,
    ):
        device.use(resolver.address)
        resolver.answer = silence
        for number in range(resolvers.FAILURES):
            await ask(device, f"{number}.example.com")
        resolver.answer = records("@ 60 A 192.0.2.1")
        device.forwarder.network_changed()
        assert values(await ask(device, "now.example.com")) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda device: None, id="no resolv.conf"),
        pytest.param(lambda device: device.use(), id="no nameserver in it"),
        pytest.param(lambda device: device.settings.resolv_conf.mkdir(), id="no file"),
        pytest.param(lambda device: device.use("nonsense", "300.1.1.1"), id="no address"),
        pytest.param(lambda device: device.use(device.settings.address), id="our own address"),
        pytest.param(lambda device: device.use("10.43.0.10"), id="our Service"),
        pytest.param(lambda device: device.use("10.42.0.9"), id="a pod"),
    ],
)
async def test_without_a_resolver_the_failure_is_there_at_once(
    device: Device, prepare: object
) -> None:
    prepare(device)  # type: ignore[operator]
    assert device.forwarder.known(codec.Question(codec.ROOT, codec.NS)) is None
    assert not device.forwarder.can_ask()
    started = time.monotonic()
    for number in range(20):
        assert (await ask(device, f"{number}.example.com")).rcode() == dns.rcode.SERVFAIL
    assert time.monotonic() - started < 1.0
    assert values(await ask(device, "web.default.svc.cluster.local")) == ["10.43.7.1"]


async def test_no_route_to_the_resolver_fails_at_once(tmp_path: pathlib.Path) -> None:
    """Scoped to an interface that does not exist, as after the uplink is gone."""
    async with serving(tmp_path) as device:
        device.use("fe80::1%gone0")
        started = time.monotonic()
        assert (await ask(device, "example.com")).rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - started < 1.0


async def test_a_changed_resolv_conf_counts_from_the_next_question(
    device: Device, resolver: Resolver, second: Resolver
) -> None:
    assert values(await ask(device, "example.com")) == ["192.0.2.1"]
    device.use(second.address)
    assert values(await ask(device, "example.com")) == ["192.0.2.9"]
    device.settings.resolv_conf.unlink()
    assert (await ask(device, "example.com")).rcode() == dns.rcode.SERVFAIL
    device.use(resolver.address)
    assert values(await ask(device, "example.com")) == ["192.0.2.1"]


async def test_an_unchanged_list_keeps_the_cache(device: Device, resolver: Resolver) -> None:
    await ask(device, "example.com")
    device.use(resolver.address, resolver.address)
    await ask(device, "example.com")
    assert len(resolver.asked) == 1


# --- aliases and strangers ----------------------------------------------------------------------


async def test_an_external_name_comes_with_its_addresses(
    device: Device, resolver: Resolver
) -> None:
    device.put("outside", type="ExternalName", externalName="www.example.com")
    resolver.answer = records("@ 60 A 192.0.2.80")
    name = "outside.default.svc.cluster.local"
    for _ in range(2):
        response = await ask(device, name)
        assert [str(rrset.name) for rrset in response.answer] == [f"{name}.", "www.example.com."]
        assert values(response) == ["www.example.com.", "192.0.2.80"]
    assert [str(asked.question[0].name) for asked in resolver.asked] == ["www.example.com."]
    device.use()
    failed = await ask(device, name)
    assert failed.rcode() == dns.rcode.SERVFAIL
    assert values(failed) == ["www.example.com."]


async def test_an_external_name_that_does_not_exist(device: Device, resolver: Resolver) -> None:
    device.put("outside", type="ExternalName", externalName="absent.example.com")
    resolver.answer = failing(dns.rcode.NXDOMAIN, SOA)
    response = await ask(device, "outside.default.svc.cluster.local")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert values(response) == ["absent.example.com."]
    assert len(response.authority) == 1


@pytest.mark.parametrize(
    ("client", "own", "served"),
    [
        ("10.42.0.7", set(), True),
        ("127.0.0.1", set(), True),
        ("192.0.2.10", {"192.0.2.10"}, True),
        ("192.0.2.11", {"192.0.2.10"}, False),
        ("10.43.0.10", set(), True),
    ],
    ids=["a pod", "loopback", "the device", "a neighbour", "the Service"],
)
async def test_strangers_learn_names_of_the_cluster_only(
    device: Device, client: str, own: set[str], served: bool
) -> None:
    device.own.update(own)
    answers = device.server._answers
    reply = answers.now(query("example.com").to_wire(), client, udp=True)
    assert isinstance(reply, bytes)
    wanted = codec.SERVFAIL if served else codec.REFUSED
    assert codec.decode_response(reply).body.rcode == wanted
    local = answers.now(query("web.default.svc.cluster.local").to_wire(), client, udp=True)
    assert isinstance(local, bytes)
    assert len(codec.decode_response(local).body.answers) == 1


# --- time-outs, in virtual time -----------------------------------------------------------------


@pytest.mark.looptime
async def test_a_dead_resolver_costs_less_than_the_c_librarys_patience(
    tmp_path: pathlib.Path, looptime: int
) -> None:
    from tests.component.dns import conftest

    held = conftest.Resolver(address())
    held.answer = silence
    async with held.running(), asyncio.TaskGroup() as group:
        made = conftest.make(tmp_path)
        made.use(held.address)
        question = codec.Question(codec.name("example.com"), codec.A)
        assert await _known_or_asked(made, question, group) is None
        assert looptime == made.settings.attempt * forward.ROUNDS
        made.use(held.address, "127.0.0.9", held.address)
        three = structs.replace(made.settings, attempt=2.0)
        patient = forward.Forwarder(three, clocks.ManualClock())
        patient.known(question)
        assert await patient.resolve(question, group) is None
        assert looptime <= 3.0 + made.settings.deadline


async def _known_or_asked(
    device: Device, question: codec.Question, group: asyncio.TaskGroup
) -> cache.Entry | None:
    assert device.forwarder.known(question) is None
    return await device.forwarder.resolve(question, group)


def test_ports_of_resolvers_are_dnss_own_in_production() -> None:
    assert forward.socket_address("192.0.2.1", 53) == ("192.0.2.1", 53)
    assert forward.socket_address("fe80::1%1", RESOLVER_PORT) == ("fe80::1", RESOLVER_PORT, 0, 1)
