"""DNS messages: bytes in, values out (RFC 1035, 3596, 2782, 6891, 3597).

Pure: no sockets, no clock. Names travel as `Name`: uncompressed wire form, so that lower-casing,
comparing and storing them is work on bytes (a length octet is at most 63 and no letter). The rdata
of a record is in uncompressed wire form too; types that are not known pass through untouched.

Whatever arrives either decodes or raises `Malformed`. Work is bounded by the size of the message: a
compression pointer must lead backwards, the number of jumps and of records is limited.
"""

from __future__ import annotations

import ipaddress
import struct

from msgspec import Struct, field

Name = bytes

ROOT: Name = b"\0"

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT = 1, 2, 5, 6, 12, 13, 15, 16
AAAA, SRV, NAPTR, DNAME, OPT = 28, 33, 35, 39, 41
IXFR, AXFR, ANY = 251, 252, 255
IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16

HEADER = 12
UDP_DEFAULT = 512
MAX_MESSAGE = 65535
MAX_NAME = 255

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010

_MAX_JUMPS = 127
"""As many as a name can have labels."""
_MAX_RECORDS = 2048
_MAX_EXTRAS = 8
"""Records besides the question in a query: OPT, TSIG and nothing else that is known."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")

NAMES_IN: dict[int, tuple[int, int, int]] = {
    # octets before, names, octets after: the types whose names may be compressed by their sender
    NS: (0, 1, 0),
    CNAME: (0, 1, 0),
    SOA: (0, 2, 20),
    PTR: (0, 1, 0),
    MX: (2, 1, 0),
    14: (0, 2, 0),  # MINFO
    17: (0, 2, 0),  # RP
    18: (2, 1, 0),  # AFSDB
    21: (2, 1, 0),  # RT
    26: (2, 2, 0),  # PX
    SRV: (6, 1, 0),
    36: (2, 1, 0),  # KX
    DNAME: (0, 1, 0),
}
HEADER_FORM = struct.Struct("!6H")
RECORD_FORM = struct.Struct("!HHIH")
QUESTION_FORM = struct.Struct("!HH")


class Malformed(ValueError):
    """The octets are no DNS message, or the text is no domain name."""


class Question(Struct, frozen=True):
    name: Name
    type: int
    klass: int = IN


class Record(Struct, frozen=True):
    name: Name
    type: int
    ttl: int
    rdata: bytes
    klass: int = IN


class Edns(Struct, frozen=True):
    payload: int
    version: int = 0
    dnssec_ok: bool = False


class Query(Struct, frozen=True):
    id: int
    question: Question
    recursion_desired: bool = True
    edns: Edns | None = None

    def udp_limit(self, most: int) -> int:
        """Octets that the asker takes in a datagram, and that we send at most."""
        return UDP_DEFAULT if self.edns is None else min(max(self.edns.payload, UDP_DEFAULT), most)


class Body(Struct, frozen=True):
    """What a response says, whoever asked."""

    rcode: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    """Without OPT."""
    authoritative: bool = False


class Response(Struct, frozen=True):
    id: int
    question: Question | None
    body: Body
    truncated: bool = False
    edns: Edns | None = None


class Packed(Struct, frozen=True):
    """A response as bytes, ready to be given to one asker after the other."""

    data: bytes
    ttls: tuple[int, ...] = field(default=())
    """Where in `data` the TTLs are."""


# --- names and rdata ----------------------------------------------------------------------------


def name(text: str) -> Name:
    """From dotted text; a dot at the end makes no difference. Raises Malformed."""
    stripped = text.removesuffix(".")
    if not stripped:
        return ROOT
    try:
        return join(stripped.encode("ascii").split(b"."))
    except UnicodeEncodeError as error:
        raise Malformed(f"{text!r} is not a domain name: {error}") from None


def join(labels: list[bytes]) -> Name:
    """Raises Malformed."""
    for label in labels:
        if not 0 < len(label) < 64:
            raise Malformed(f"a label has 1 to 63 octets, not {len(label)}")
    made = b"".join(bytes((len(label),)) + label for label in labels) + ROOT
    if len(made) > MAX_NAME:
        raise Malformed(f"a name has up to {MAX_NAME} octets, not {len(made)}")
    return made


def labels(of: Name) -> list[bytes]:
    found = []
    at = 0
    while length := of[at]:
        found.append(of[at + 1 : at + 1 + length])
        at += 1 + length
    return found


def text(of: Name) -> str:
    """For people: anything but letters, digits, hyphen and underscore as \\DDD."""
    return ".".join(_label_text(label) for label in labels(of)) or "."


def _label_text(label: bytes) -> str:
    return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:03}" for octet in label)


def address(ip: str) -> tuple[int, bytes]:
    """Record type and rdata of an IP address. Raises ValueError."""
    parsed = ipaddress.ip_address(ip)
    return (A if parsed.version == 4 else AAAA), parsed.packed


def srv(priority: int, weight: int, port: int, target: Name) -> bytes:
    return struct.pack("!HHH", priority, weight, port) + target


def srv_target(rdata: bytes) -> Name:
    return rdata[6:]


def soa(mname: Name, rname: Name, serial: int, minimum: int) -> bytes:
    """Refresh, retry and expire concern secondaries only, of which there are none."""
    return mname + rname + struct.pack("!5I", serial & 0xFFFFFFFF, 7200, 1800, 86400, minimum)


def soa_minimum(rdata: bytes) -> int:
    found: int = struct.unpack("!I", rdata[-4:])[0]
    return found


def txt(*strings: bytes) -> bytes:
    return b"".join(bytes((len(string),)) + string for string in strings)


# --- decoding -----------------------------------------------------------------------------------


def peek(data: bytes) -> tuple[int, int]:
    """Flags and opcode. Raises Malformed when there is not even a header."""
    if len(data) < HEADER:
        raise Malformed("shorter than a header")
    flags = data[2] << 8 | data[3]
    return flags, flags >> 11 & 0xF


def decode_query(data: bytes) -> Query:
    """Raises Malformed."""
    if not HEADER <= len(data) <= MAX_MESSAGE:
        raise Malformed(f"{len(data)} octets are no query")
    query_id, flags, questions, answers, authority, additional = HEADER_FORM.unpack_from(data)
    if flags & QR or questions != 1 or answers or authority or additional > _MAX_EXTRAS:
        raise Malformed("not a query with one question")
    reader = _Reader(data)
    question = reader.question()
    edns: Edns | None = None
    for _ in range(additional):
        edns = reader.skip_for_edns(edns)
    if not reader.is_at_end():
        raise Malformed("something follows the query")
    return Query(query_id, question, bool(flags & RD), edns)


def decode_response(data: bytes) -> Response:
    """Raises Malformed."""
    if not HEADER <= len(data) <= MAX_MESSAGE:
        raise Malformed(f"{len(data)} octets are no response")
    response_id, flags, questions, *counts = HEADER_FORM.unpack_from(data)
    if not flags & QR or questions > 1 or sum(counts) > _MAX_RECORDS:
        raise Malformed("not a response to one question")
    reader = _Reader(data)
    question = reader.question() if questions else None
    answers, authority, additional = (
        tuple(record for _ in range(count) if (record := reader.record())) for count in counts
    )
    rcode = flags & 0xF | reader.extended_rcode << 4
    body = Body(rcode, answers, authority, additional, bool(flags & AA))
    return Response(response_id, question, body, bool(flags & TC), reader.edns)


class _Reader:
    """Moves through one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = HEADER
        self.edns: Edns | None = None
        self.extended_rcode = 0

    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def question(self) -> Question:
        asked = self._name()
        kind, klass = self._unpack(QUESTION_FORM)
        return Question(asked, kind, klass)

    def record(self) -> Record | None:
        """None for OPT, which is no record of anything but the message."""
        owner = self._name()
        kind, klass, ttl, length = self._unpack(RECORD_FORM)
        end = self._end(length)
        if kind == OPT:
            self._take_edns(owner, klass, ttl)
            self._at = end
            return None
        rdata = self._rdata(kind, end)
        self._at = end
        # RFC 2181, section 8: a TTL with the highest bit set means zero.
        return Record(owner, kind, ttl if ttl < 1 << 31 else 0, rdata, klass)

    def skip_for_edns(self, known: Edns | None) -> Edns | None:
        owner = self._name()
        kind, klass, ttl, length = self._unpack(RECORD_FORM)
        self._at = self._end(length)
        if kind == OPT:
            self.edns = known
            self._take_edns(owner, klass, ttl)
            return self.edns
        return known

    def _take_edns(self, owner: Name, klass: int, ttl: int) -> None:
        if self.edns is not None or owner != ROOT:
            raise Malformed("OPT must be there once, at the root")
        self.extended_rcode = ttl >> 24
        self.edns = Edns(klass, ttl >> 16 & 0xFF, bool(ttl & 0x8000))

    def _end(self, length: int) -> int:
        end = self._at + length
        if end > len(self._data):
            raise Malformed("a record goes beyond the message")
        return end

    def _unpack(self, form: struct.Struct) -> tuple[int, ...]:
        try:
            found = form.unpack_from(self._data, self._at)
        except struct.error:
            raise Malformed("the message ends within a record") from None
        self._at += form.size
        return found

    def _rdata(self, kind: int, end: int) -> bytes:
        start = self._at
        raw = self._data[start:end]
        if kind in (A, AAAA):
            if len(raw) != (4 if kind == A else 16):
                raise Malformed("an address of a wrong length")
            return raw
        if kind == TXT:
            _strings(raw, None)
            return raw
        if kind == NAPTR:
            before, count, after = _strings(raw[4:], 3) + 4, 1, 0
        elif kind in NAMES_IN:
            before, count, after = NAMES_IN[kind]
        else:
            return raw
        self._at = start + before
        names = b"".join(self._name() for _ in range(count))
        if self._at + after != end:
            raise Malformed("the data of a record does not fill it")
        return raw[:before] + names + self._data[self._at : end]

    def _name(self) -> Name:
        """The name here; afterwards we are behind it."""
        data, at = self._data, self._at
        size = len(data)
        parts: list[bytes] = []
        total, floor, jumps = 1, at, 0
        behind = -1
        while True:
            length = data[at] if at < size else 0xFF
            if length == 0:
                break
            if length < 64:
                if at + 1 + length >= size:
                    raise Malformed("the message ends within a name")
                parts.append(data[at : at + 1 + length])
                total += 1 + length
                if total > MAX_NAME:
                    raise Malformed("a name is too long")
                at += 1 + length
                continue
            if length < 0xC0 or at + 1 >= size:
                raise Malformed("a name has an unknown label or no end")
            target = (length & 0x3F) << 8 | data[at + 1]
            jumps += 1
            if target >= floor or jumps > _MAX_JUMPS:
                raise Malformed("a compression pointer does not lead backwards")
            if behind < 0:
                behind = at + 2
            at = floor = target
        self._at = at + 1 if behind < 0 else behind
        parts.append(ROOT)
        return b"".join(parts)


def _strings(raw: bytes, count: int | None) -> int:
    """Octets of `count` character strings (None: all, at least one). Raises Malformed."""
    at = seen = 0
    while seen < count if count is not None else at < len(raw):
        if at >= len(raw):
            raise Malformed("a character string is missing")
        at += 1 + raw[at]
        seen += 1
    if at > len(raw) or not seen:
        raise Malformed("a character string goes beyond its record")
    return at
