"""Answers of resolvers, for as long as they may be kept (RFC 1035 TTLs, RFC 2308 for the absent).

Bounded in entries and in bytes; what was used longest ago goes first. Time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from edgeorch.wire import dns

Key = tuple[dns.Name, int]
"""Name in lower case, type."""

MOST_TTL = 3600
MOST_NEGATIVE_TTL = 60
"""Seconds. On a bad line a name may be absent for a moment only."""

_OVERHEAD = 400
"""Octets that an entry costs beyond its message, about."""


class Entry(Struct, frozen=True):
    packed: dns.Packed
    stored: float
    ttl: int

    def age(self, now: float) -> int:
        return max(0, int(now - self.stored))


class Cache:
    def __init__(self, entries: int, octets: int) -> None:
        self._most_entries = entries
        self._most_octets = octets
        self._octets = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        return self._octets

    def get(self, key: Key, now: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now - entry.stored >= entry.ttl:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        self._drop(key)
        cost = _cost(key, entry)
        if entry.ttl <= 0 or cost > self._most_octets // 8:
            return
        self._entries[key] = entry
        self._octets += cost
        while len(self._entries) > self._most_entries or self._octets > self._most_octets:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self._octets = 0

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._octets -= _cost(key, entry)


def _cost(key: Key, entry: Entry) -> int:
    return _OVERHEAD + len(key[0]) + len(entry.packed.data) + 8 * len(entry.packed.ttls)


def lifetime(question: dns.Question, body: dns.Body) -> int:
    """Seconds for which this answer may be kept; 0: not at all."""
    ttls = [record.ttl for record in body.answers]
    if body.rcode == dns.NOERROR and any(r.type == question.type for r in body.answers):
        return min([*ttls, MOST_TTL])
    soas = [record for record in body.authority if record.type == dns.SOA]
    if body.rcode not in (dns.NOERROR, dns.NXDOMAIN) or not soas:
        return 0
    negative = min(soas[0].ttl, dns.soa_minimum(soas[0].rdata), MOST_NEGATIVE_TTL)
    return min([*ttls, negative])


def kept(question: dns.Question, body: dns.Body) -> dns.Body:
    """What is passed on and kept of an answer: the records, or the SOA that says there are none."""
    authority = tuple(record for record in body.authority if record.type == dns.SOA)
    if body.rcode == dns.NOERROR and any(r.type == question.type for r in body.answers):
        authority = ()
    return dns.Body(body.rcode, body.answers, authority)
