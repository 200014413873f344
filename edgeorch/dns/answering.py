"""From a query's bytes to a reply's: at once where the zone or the cache knows, else `Pending`.

Answers of the zone are for everybody who can send us a packet, other names only for pods and the
device itself: the bridge's address can be reached from the network around the device, which shall
not find an open resolver there.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.core import dns_zone
from edgeorch.dns import cache, forward
from edgeorch.lib import metrics
from edgeorch.wire import dns, dns_encoding

if TYPE_CHECKING:
    from edgeorch.dns.settings import Settings
    from edgeorch.lib import clock as clocks

MOST_UDP = forward.PAYLOAD
"""Octets of our datagrams at most."""

DROPPED = b""
"""In place of a reply: what is no query gets none."""

_TRANSFERS = (dns.AXFR, dns.IXFR)


class Pending(Struct, frozen=True):
    """A query that has to wait for the resolvers' answer to `question`."""

    query: dns.Query
    limit: int
    question: dns.Question
    prefix: tuple[dns.Record, ...] = ()
    """The aliases of the zone that led to it."""


class Answering:
    def __init__(
        self,
        zone: dns_zone.Zone,
        forwarder: forward.Forwarder,
        settings: Settings,
        clock: clocks.Clock,
        own_addresses: Callable[[], Container[str]],
    ) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._clock = clock
        self._pods = ipaddress.ip_network(settings.pod_cidr)
        self._own = own_addresses
        self._own_here = (settings.address, settings.service_address)
        self._replies = metrics.Counter(
            "edgeorch_dns_replies_total",
            "Replies to DNS queries: out of the zone or the cache, forwarded ones, and those that "
            "say no.",
            ("outcome",),
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._replies)

    def now(self, data: bytes, client: str, *, udp: bool) -> bytes | Pending:
        """The reply, or what is to be given to `later`."""
        try:
            flags, opcode = dns.peek(data)
        except dns.Malformed:
            return DROPPED
        if flags & dns.QR:
            return DROPPED
        if opcode:
            self._replies.add("refused")
            return dns_encoding.error_reply(data, dns.NOTIMP)
        try:
            query = dns.decode_query(data)
        except dns.Malformed:
            self._replies.add("malformed")
            return dns_encoding.error_reply(data, dns.FORMERR)
        return self._answer(query, client, query.udp_limit(MOST_UDP) if udp else dns.MAX_MESSAGE)

    def _answer(self, query: dns.Query, client: str, limit: int) -> bytes | Pending:
        question = query.question
        if query.edns is not None and query.edns.version:
            return self._refusal(query, dns.BADVERS, limit)
        if question.klass != dns.IN or question.type in _TRANSFERS:
            return self._refusal(query, dns.REFUSED, limit)
        # The id is random: a counter would go in step with clients that ask for A and AAAA.
        found = self._zone.lookup(question, query.id)
        if found is not None and found.chase is None:
            self._replies.add("zone")
            return dns_encoding.encode_reply(query, found.body, limit)
        if not self._may_ask(client):
            return self._refusal(query, dns.REFUSED, limit)
        if found is None or found.chase is None:
            return self._from_outside(Pending(query, limit, question))
        wanted = dns.Question(found.chase, question.type)
        return self._from_outside(Pending(query, limit, wanted, found.body.answers))

    def _may_ask(self, client: str) -> bool:
        parsed = ipaddress.ip_address(client.partition("%")[0])
        if parsed in self._pods or parsed.is_loopback:
            return True
        return client in self._own_here or client in self._own()

    def _from_outside(self, pending: Pending) -> bytes | Pending:
        entry = self._forwarder.known(pending.question)
        if entry is not None:
            self._replies.add("cache")
            return self._finish(pending, entry)
        return pending if self._forwarder.can_ask() else self.failure(pending)

    async def later(self, pending: Pending, group: asyncio.TaskGroup) -> bytes:
        entry = await self._forwarder.resolve(pending.question, group)
        if entry is None:
            return self.failure(pending)
        self._replies.add("forwarded")
        return self._finish(pending, entry)

    def failure(self, pending: Pending) -> bytes:
        """SERVFAIL: the C library then tries what is left of its search list, or says EAI_AGAIN."""
        self._replies.add("failed")
        body = dns.Body(dns.SERVFAIL, pending.prefix)
        return dns_encoding.encode_reply(pending.query, body, pending.limit)

    def _finish(self, pending: Pending, entry: cache.Entry) -> bytes:
        age = entry.age(self._clock.monotonic())
        if not pending.prefix:
            return dns_encoding.reply_packed(pending.query, entry.packed, age, pending.limit)
        body = dns_encoding.aged(dns.decode_response(entry.packed.data).body, age)
        joined = dns.Body(body.rcode, pending.prefix + body.answers, body.authority)
        return dns_encoding.encode_reply(pending.query, joined, pending.limit)

    def _refusal(self, query: dns.Query, rcode: int, limit: int) -> bytes:
        self._replies.add("refused")
        return dns_encoding.encode_reply(query, dns.Body(rcode), limit)
