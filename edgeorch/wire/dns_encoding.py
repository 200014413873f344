"""DNS messages: values in, bytes out (RFC 1035, 6891). What is decoded is in `wire.dns`.

Names are compressed, also within the data of those types that any receiver knows (RFC 3597, section
4). What does not fit is left out record by record, and TC says so.
"""

from __future__ import annotations

from edgeorch.wire import dns

_COMPRESSED = frozenset({dns.NS, dns.CNAME, dns.SOA, dns.PTR, dns.MX})


def encode_query(query_id: int, question: dns.Question, payload: int | None) -> bytes:
    """A question to a resolver; `payload` None: without EDNS."""
    data = dns.HEADER_FORM.pack(query_id, dns.RD, 1, 0, 0, 0 if payload is None else 1)
    data += question.name + dns.QUESTION_FORM.pack(question.type, question.klass)
    return data if payload is None else data + _opt(dns.Edns(payload), 0)


def encode_reply(query: dns.Query, body: dns.Body, limit: int, payload: int = 1232) -> bytes:
    """Cut at whole records, TC set, when it is longer than `limit`. `payload`: what we take."""
    opt = b""
    if query.edns is not None:
        opt = _opt(dns.Edns(payload, dnssec_ok=query.edns.dnssec_ok), body.rcode >> 4)
    writer = _Writer(query.question, limit - len(opt))
    counts, truncated = writer.sections(body)
    flags = _flags(body) | (dns.TC if truncated else 0) | (dns.RD if query.recursion_desired else 0)
    counts[2] += 1 if opt else 0
    dns.HEADER_FORM.pack_into(writer.data, 0, query.id, flags, 1, *counts)
    return bytes(writer.data) + opt


def error_reply(data: bytes, rcode: int) -> bytes:
    """For a query that cannot be decoded; `data` has at least a header."""
    flags, _ = dns.peek(data)
    return dns.HEADER_FORM.pack(
        data[0] << 8 | data[1], dns.QR | flags & (0x7800 | dns.RD) | rcode, 0, 0, 0, 0
    )


def pack(question: dns.Question, body: dns.Body) -> dns.Packed:
    """Raises Malformed when it does not fit into a message."""
    writer = _Writer(question, dns.MAX_MESSAGE)
    counts, truncated = writer.sections(body)
    if truncated:
        raise dns.Malformed("more records than a message holds")
    dns.HEADER_FORM.pack_into(writer.data, 0, 0, _flags(body), 1, *counts)
    return dns.Packed(bytes(writer.data), tuple(writer.ttls))


def reply_packed(
    query: dns.Query, packed: dns.Packed, age: int, limit: int, payload: int = 1232
) -> bytes:
    """`packed`, which answers this question in whatever case, `age` seconds later."""
    size = len(packed.data) + (11 if query.edns is not None else 0)
    if size > limit:
        return encode_reply(query, aged(dns.decode_response(packed.data).body, age), limit, payload)
    data = bytearray(packed.data)
    data[0:2] = query.id.to_bytes(2, "big")
    if query.recursion_desired:
        data[2] |= dns.RD >> 8
    data[dns.HEADER : dns.HEADER + len(query.question.name)] = query.question.name
    if age:
        for at in packed.ttls:
            left = max(0, int.from_bytes(data[at : at + 4], "big") - age)
            data[at : at + 4] = left.to_bytes(4, "big")
    if query.edns is not None:
        data[10:12] = (int.from_bytes(data[10:12], "big") + 1).to_bytes(2, "big")
        data += _opt(dns.Edns(payload, dnssec_ok=query.edns.dnssec_ok), 0)
    return bytes(data)


def aged(body: dns.Body, age: int) -> dns.Body:
    """As it reads `age` seconds later."""

    def older(records: tuple[dns.Record, ...]) -> tuple[dns.Record, ...]:
        return tuple(
            dns.Record(each.name, each.type, max(0, each.ttl - age), each.rdata, each.klass)
            for each in records
        )

    return dns.Body(
        body.rcode,
        older(body.answers),
        older(body.authority),
        older(body.additional),
        body.authoritative,
    )


def _flags(body: dns.Body) -> int:
    return dns.QR | dns.RA | body.rcode & 0xF | (dns.AA if body.authoritative else 0)


def _opt(edns: dns.Edns, extended_rcode: int) -> bytes:
    ttl = extended_rcode << 24 | edns.version << 16 | (0x8000 if edns.dnssec_ok else 0)
    return dns.ROOT + dns.RECORD_FORM.pack(dns.OPT, edns.payload, ttl, 0)


class _Writer:
    """Builds one message; a name that was written before is pointed at."""

    def __init__(self, question: dns.Question, limit: int) -> None:
        self.data = bytearray(dns.HEADER)
        self.ttls: list[int] = []
        self._limit = limit
        self._seen: dict[dns.Name, int] = {}
        self._name(question.name)
        self.data += dns.QUESTION_FORM.pack(question.type, question.klass)

    def sections(self, body: dns.Body) -> tuple[list[int], bool]:
        """How many records of each section went in, and whether ones that matter did not."""
        counts = [0, 0, 0]
        for index, section in enumerate((body.answers, body.authority, body.additional)):
            for record in section:
                if not self._record(record):
                    return counts, index < 2
                counts[index] += 1
        return counts, False

    def _record(self, record: dns.Record) -> bool:
        data = self.data
        start = len(data)
        self._name(record.name)
        ttl_at = len(data) + 4
        data += dns.RECORD_FORM.pack(record.type, record.klass, record.ttl, len(record.rdata))
        if record.type in _COMPRESSED:
            self._compressed(record)
        else:
            data += record.rdata
        if len(data) > self._limit:
            del data[start:]
            return False
        self.ttls.append(ttl_at)
        return True

    def _compressed(self, record: dns.Record) -> None:
        data = self.data
        start = len(data)
        before, count, _ = dns.NAMES_IN[record.type]
        rdata, at = record.rdata, before
        data += rdata[:before]
        for _ in range(count):
            end = at
            while rdata[end]:
                end += 1 + rdata[end]
            self._name(rdata[at : end + 1])
            at = end + 1
        data += rdata[at:]
        data[start - 2 : start] = (len(data) - start).to_bytes(2, "big")

    def _name(self, whole: dns.Name) -> None:
        data, seen = self.data, self._seen
        low = whole.lower()
        at = 0
        while length := whole[at]:
            known = seen.get(low[at:])
            if known is not None:
                data += (0xC000 | known).to_bytes(2, "big")
                return
            if len(data) < 0x4000:
                seen[low[at:]] = len(data)
            data += whole[at : at + 1 + length]
            at += 1 + length
        data += dns.ROOT
