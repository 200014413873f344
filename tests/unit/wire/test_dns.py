"""The DNS codec against dnspython: what one writes the other reads; hostile octets raise Malformed.

Not here: what is answered (tests/unit/core/test_dns_zone.py) and sockets (tests/component/dns).
"""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.wire import dns as codec
from edgeorch.wire import dns_encoding

LABELS = st.binary(min_size=1, max_size=63)
SIMPLE = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)


@st.composite
def names(draw: st.DrawFn) -> codec.Name:
    """Of any octets, with endings in common so that there is something to compress."""
    end = draw(st.sampled_from([[], [b"local"], [b"cluster", b"local"], [b"Cluster", b"LOCAL"]]))
    front = draw(st.lists(st.one_of(LABELS, SIMPLE.map(str.encode)), max_size=3))
    hypothesis.assume(sum(len(label) + 1 for label in front + end) < 250)
    return codec.join(front + end)


def rdata() -> st.SearchStrategy[tuple[int, bytes]]:
    octets = st.binary(max_size=40)
    return st.one_of(
        st.binary(min_size=4, max_size=4).map(lambda raw: (codec.A, raw)),
        st.binary(min_size=16, max_size=16).map(lambda raw: (codec.AAAA, raw)),
        names().map(lambda n: (codec.CNAME, n)),
        names().map(lambda n: (codec.PTR, n)),
        names().map(lambda n: (codec.NS, n)),
        names().map(lambda n: (codec.MX, b"\0\x0a" + n)),
        st.tuples(st.integers(0, 65535), names()).map(
            lambda pair: (codec.SRV, codec.srv(0, 50, pair[0], pair[1]))
        ),
        st.lists(octets, min_size=1, max_size=3).map(lambda s: (codec.TXT, codec.txt(*s))),
        st.tuples(names(), names(), st.integers(0, 2**32 - 1)).map(
            lambda t: (codec.SOA, codec.soa(t[0], t[1], t[2], 5))
        ),
        names().map(lambda n: (codec.NAPTR, b"\0\1\0\2\1u\3sip\0" + n)),
        octets.map(lambda raw: (65280, raw)),
    )


@st.composite
def records(draw: st.DrawFn) -> codec.Record:
    kind, raw = draw(rdata())
    return codec.Record(draw(names()), kind, draw(st.integers(0, 2**31 - 1)), raw)


SECTION = st.lists(records(), max_size=4).map(tuple)
BODIES = st.builds(
    codec.Body,
    rcode=st.sampled_from([codec.NOERROR, codec.NXDOMAIN, codec.SERVFAIL]),
    answers=SECTION,
    authority=SECTION,
    additional=SECTION,
    authoritative=st.booleans(),
)
EDNS = st.one_of(st.none(), st.builds(codec.Edns, payload=st.integers(0, 65535)))
QUESTIONS = st.builds(codec.Question, name=names(), type=st.sampled_from([1, 28, 33, 12, 255]))
QUERIES = st.builds(
    codec.Query,
    id=st.integers(0, 65535),
    question=QUESTIONS,
    recursion_desired=st.booleans(),
    edns=EDNS,
)


def folded(record: codec.Record) -> tuple[codec.Name, int, int, bytes]:
    """Names compare without regard to case, and compression may change it."""
    return record.name.lower(), record.type, record.ttl, record.rdata.lower()


# --- round trips --------------------------------------------------------------------------------


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES, BODIES)
def test_a_reply_is_read_back_as_it_was(query: codec.Query, body: codec.Body) -> None:
    read = codec.decode_response(dns_encoding.encode_reply(query, body, 65535))
    assert read.id == query.id
    assert read.question == query.question
    assert not read.truncated
    assert read.body.rcode == body.rcode
    assert read.body.authoritative == body.authoritative
    for section in ("answers", "authority", "additional"):
        wanted = [folded(record) for record in getattr(body, section)]
        assert [folded(record) for record in getattr(read.body, section)] == wanted
    assert (read.edns is None) == (query.edns is None)


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES, BODIES)
def test_dnspython_reads_our_replies(query: codec.Query, body: codec.Body) -> None:
    parsed = dns.message.from_wire(
        dns_encoding.encode_reply(query, body, 65535), one_rr_per_rrset=True
    )
    assert parsed.id == query.id
    assert parsed.rcode() == body.rcode
    assert bool(parsed.flags & dns.flags.AA) == body.authoritative
    assert bool(parsed.flags & dns.flags.RD) == query.recursion_desired
    for found, wanted in zip(
        (parsed.answer, parsed.authority, parsed.additional),
        (body.answers, body.authority, body.additional),
        strict=True,
    ):
        assert len(found) == len(wanted)
        for rrset, record in zip(found, wanted, strict=True):
            assert (rrset.name.to_wire() or b"").lower() == record.name.lower()
            assert (rrset.rdtype, rrset.ttl) == (record.type, record.ttl)
            assert rrset[0].to_wire().lower() == record.rdata.lower()


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES)
def test_dnspython_queries_are_read(query: codec.Query) -> None:
    made = dns.message.make_query(
        dns.name.from_wire(query.question.name, 0)[0],
        dns.rdatatype.RdataType.make(query.question.type),
        id=query.id,
    )
    if query.edns is not None:
        made.use_edns(
            payload=query.edns.payload,
            options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")],
        )
    if not query.recursion_desired:
        made.flags &= ~dns.flags.RD
    assert codec.decode_query(made.to_wire()) == query


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES, BODIES)
def test_dnspythons_compression_is_read(query: codec.Query, body: codec.Body) -> None:
    parsed = dns.message.from_wire(
        dns_encoding.encode_reply(query, body, 65535), one_rr_per_rrset=True
    )
    parsed.authority, parsed.additional = [], []
    read = codec.decode_response(parsed.to_wire(max_size=65535))
    assert [folded(r) for r in read.body.answers] == [folded(r) for r in body.answers]


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUESTIONS, st.integers(0, 65535), st.sampled_from([None, 512, 1232]))
def test_our_questions_are_read_by_dnspython(
    question: codec.Question, query_id: int, payload: int | None
) -> None:
    parsed = dns.message.from_wire(dns_encoding.encode_query(query_id, question, payload))
    assert parsed.id == query_id
    assert parsed.flags == dns.flags.RD
    assert parsed.question[0].name.to_wire() == question.name
    assert parsed.question[0].rdtype == question.type
    assert parsed.edns == (-1 if payload is None else 0)
    assert payload in (None, parsed.payload)


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES, BODIES, st.integers(0, 2**31))
def test_a_packed_reply_is_the_reply_some_time_later(
    query: codec.Query, body: codec.Body, age: int
) -> None:
    packed = dns_encoding.pack(query.question, body)
    lower = codec.Query(
        query.id,
        codec.Question(query.question.name.swapcase(), query.question.type),
        query.recursion_desired,
        query.edns,
    )
    hypothesis.assume(len(lower.question.name) == len(query.question.name))
    read = codec.decode_response(dns_encoding.reply_packed(lower, packed, age, 65535))
    assert read.id == query.id
    assert read.question == lower.question
    older = dns_encoding.aged(body, age)
    assert [folded(r) for r in read.body.answers] == [folded(r) for r in older.answers]
    assert [folded(r) for r in read.body.additional] == [folded(r) for r in older.additional]
    assert (read.edns is None) == (query.edns is None)


# --- sizes --------------------------------------------------------------------------------------


@hypothesis.settings(max_examples=40)
@hypothesis.given(QUERIES, BODIES, st.integers(512, 1232))
def test_no_reply_is_longer_than_its_limit(
    query: codec.Query, body: codec.Body, limit: int
) -> None:
    many = codec.Body(body.rcode, body.answers * 5, body.authority, body.additional)
    data = dns_encoding.encode_reply(query, many, limit)
    assert len(data) <= limit
    read = codec.decode_response(data)
    kept = len(read.body.answers)
    assert [folded(r) for r in read.body.answers] == [folded(r) for r in many.answers[:kept]]
    whole = kept == len(many.answers) and len(read.body.authority) == len(many.authority)
    assert read.truncated != whole
    again = dns_encoding.reply_packed(query, dns_encoding.pack(query.question, many), 0, limit)
    assert len(again) <= limit


@pytest.mark.parametrize(
    ("edns", "limit"),
    [
        pytest.param(None, 512, id="without EDNS"),
        pytest.param(codec.Edns(100), 512, id="less than the least"),
        pytest.param(codec.Edns(900), 900, id="as it asks"),
        pytest.param(codec.Edns(65535), 1232, id="no more than passes everywhere"),
    ],
)
def test_datagrams_are_as_long_as_the_asker_takes(edns: codec.Edns | None, limit: int) -> None:
    query = codec.Query(1, codec.Question(codec.name("a"), codec.A), True, edns)
    assert query.udp_limit(1232) == limit


def test_the_extended_rcode_is_in_the_opt_record() -> None:
    query = codec.Query(1, codec.Question(codec.name("a"), codec.A), True, codec.Edns(1232, 1))
    parsed = dns.message.from_wire(
        dns_encoding.encode_reply(query, codec.Body(codec.BADVERS), 1232)
    )
    assert parsed.rcode() == 16
    assert codec.decode_response(parsed.to_wire()).body.rcode == codec.BADVERS


def test_equal_endings_are_written_once() -> None:
    query = codec.Query(1, codec.Question(codec.name("web.default.svc.cluster.local"), codec.A))
    alike = [codec.Record(query.question.name, codec.A, 5, bytes(4))] * 10
    data = dns_encoding.encode_reply(query, codec.Body(answers=tuple(alike)), 512)
    assert len(data) == 12 + len(query.question.name) + 4 + 10 * 16


# --- hostile octets -----------------------------------------------------------------------------


def read_anyhow(data: bytes) -> None:
    """Either it can be read, and what was read written, or it is Malformed."""
    try:
        query = codec.decode_query(data)
    except codec.Malformed:
        query = None
    if query is not None:
        dns_encoding.encode_reply(query, codec.Body(), 512)
    try:
        response = codec.decode_response(data)
    except codec.Malformed:
        return
    if response.question is not None:
        dns_encoding.encode_reply(codec.Query(1, response.question), response.body, 65535)


@hypothesis.given(st.binary(max_size=600))
def test_any_octets_are_read_or_malformed(data: bytes) -> None:
    read_anyhow(data)


@hypothesis.settings(max_examples=150)
@hypothesis.given(
    QUERIES, BODIES, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=8), st.data()
)
def test_damaged_messages_are_read_or_malformed(
    query: codec.Query, body: codec.Body, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    message = bytearray(dns_encoding.encode_reply(query, body, 65535))
    for at, octet in changes:
        message[at % len(message)] = octet
    end = data.draw(st.integers(0, len(message)))
    read_anyhow(bytes(message[:end]))
    message[2] &= 0x7F
    read_anyhow(bytes(message))


def query_with(name: bytes, *, additional: bytes = b"", count: int = 0) -> bytes:
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, count) + name + b"\0\1\0\1" + additional


OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 11, id="shorter than a header"),
        pytest.param(query_with(b"\xc0\x0c"), id="a pointer at itself"),
        pytest.param(query_with(b"\1a\xc0\x0c"), id="a loop"),
        pytest.param(query_with(b"\xc0\xff"), id="a pointer beyond"),
        pytest.param(query_with(b"\x40" + b"a" * 64), id="an unknown label type"),
        pytest.param(query_with(b"\x80a"), id="another unknown label type"),
        pytest.param(query_with((b"\x3f" + b"a" * 63) * 4 + b"\0"), id="a name of 257 octets"),
        pytest.param(query_with(b"\x05abc"), id="a label that does not end"),
        pytest.param(query_with(b"\1a\0")[:-1], id="half a question"),
        pytest.param(query_with(b"\1a\0", count=1), id="a record that is not there"),
        pytest.param(query_with(b"\1a\0", additional=OPT * 2, count=2), id="two OPTs"),
        pytest.param(query_with(b"\1a\0", additional=b"\1x" + OPT, count=1), id="OPT with owner"),
        pytest.param(query_with(b"\1a\0", additional=OPT * 9, count=9), id="too many extras"),
        pytest.param(query_with(b"\1a\0", additional=OPT[:-1] + b"\1", count=1), id="long option"),
        pytest.param(struct.pack("!6H", 7, 0x0100, 0, 0, 0, 0), id="no question"),
        pytest.param(struct.pack("!6H", 7, 0x0100, 2, 0, 0, 0) + b"\0\0\1\0\1" * 2, id="two"),
        pytest.param(struct.pack("!6H", 7, 0x8100, 1, 0, 0, 0) + b"\0\0\1\0\1", id="a response"),
        pytest.param(bytes(70000), id="too long"),
    ],
)
def test_what_is_no_query_is_malformed(data: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.decode_query(data)


def response_with(*records: bytes, count: int | None = None) -> bytes:
    header = struct.pack("!6H", 7, 0x8180, 1, len(records) if count is None else count, 0, 0)
    return header + b"\1a\0\0\1\0\1" + b"".join(records)


def raw_record(kind: int, rdata: bytes, length: int | None = None) -> bytes:
    size = len(rdata) if length is None else length
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, size) + rdata


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(response_with(raw_record(1, b"\1\2\3")), id="A of 3 octets"),
        pytest.param(response_with(raw_record(28, b"\1\2\3\4")), id="AAAA of 4 octets"),
        pytest.param(response_with(raw_record(1, b"\1\2\3\4", 400)), id="beyond the message"),
        pytest.param(response_with(raw_record(5, b"\1b\0x")), id="more than the alias"),
        pytest.param(response_with(raw_record(5, b"\1b\0", 2)), id="less than the alias"),
        pytest.param(response_with(raw_record(33, b"\0\0\0")), id="SRV cut short"),
        pytest.param(response_with(raw_record(16, b"\5abc")), id="TXT cut short"),
        pytest.param(response_with(raw_record(16, b"")), id="empty TXT"),
        pytest.param(response_with(raw_record(35, b"\0\1\0\2\1u")), id="NAPTR cut short"),
        pytest.param(response_with(raw_record(6, b"\0\0" + bytes(19))), id="SOA cut short"),
        pytest.param(
            response_with(b"\xc0\x1f" + raw_record(65280, b"\1b\0")[2:]), id="a pointer forwards"
        ),
        pytest.param(response_with(count=3000), id="more records than octets"),
    ],
)
def test_what_is_no_response_is_malformed(data: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.decode_response(data)


def test_a_long_chain_of_pointers_is_malformed() -> None:
    """Each leads backwards, so that it ends, but a thousand records of them would take long."""
    chain = raw_record(
        65280, b"\0" + b"".join(struct.pack("!H", 0xC000 | 31 + n) for n in range(0))
    )
    at = 12 + 7 + len(raw_record(65280, b""))
    links = b"\0\0" + b"".join(struct.pack("!H", 0xC000 | at + 2 * n) for n in range(200))
    chain = raw_record(65280, links)
    last = struct.pack("!H", 0xC000 | at + 2 * 199) + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    with pytest.raises(codec.Malformed, match="backwards"):
        codec.decode_response(response_with(chain, last))


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", []),
        (".", []),
        ("a", [b"a"]),
        ("a.b.", [b"a", b"b"]),
        ("_http._tcp.Web", [b"_http", b"_tcp", b"Web"]),
    ],
)
def test_names_from_text(text: str, labels: list[bytes]) -> None:
    assert codec.labels(codec.name(text)) == labels


@pytest.mark.parametrize("text", ["a..b", ".a", "a" * 64, ".".join(["a" * 63] * 4), "ä.de"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(codec.Malformed):
        codec.name(text)


def test_names_for_people_cannot_forge_lines_of_the_log() -> None:
    assert codec.text(codec.join([b"a\nb.c", b"de"])) == r"a\010b\046c.de"
    assert codec.text(codec.ROOT) == "."
