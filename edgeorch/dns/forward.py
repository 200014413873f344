"""Questions that are not ours: asked of the host's resolvers, each at most once at a time.

An attempt has a socket of its own, so its source port is the kernel's random one, and a random id;
what does not match both and the question is not looked at. A resolver that is silent, unreachable
or refuses gives way to the next; a cut answer is asked for again over TCP. Identical questions
share one flight, which also stops loops through other forwarders: the question that comes back
joins the one that is under way. Without a resolver to ask, the failure is there at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
import struct
from typing import TYPE_CHECKING

from edgeorch.dns import cache, resolvers
from edgeorch.wire import dns, dns_encoding

if TYPE_CHECKING:
    from edgeorch.dns.settings import Settings
    from edgeorch.lib import clock as clocks

log = logging.getLogger(__name__)

PAYLOAD = 1232
"""Octets of a datagram that pass everywhere (DNS Flag Day 2020)."""
ROUNDS = 2
"""How often a silent resolver is asked one question."""


class Forwarder:
    """Owner of the cache and of all questions under way, whose tasks live in `group`."""

    def __init__(self, settings: Settings, clock: clocks.Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._cache = cache.Cache(settings.cache_entries, settings.cache_bytes)
        self._flights: dict[cache.Key, asyncio.Task[cache.Entry | None]] = {}
        self._resolvers = resolvers.Resolvers(
            settings.resolv_conf,
            [settings.address, settings.service_address, settings.service_cidr, settings.pod_cidr],
            self._cache.clear,
        )

    @property
    def cached(self) -> cache.Cache:
        return self._cache

    @property
    def under_way(self) -> int:
        return len(self._flights)

    def network_changed(self) -> None:
        """Give resolvers that have failed another chance."""
        self._resolvers.forgive()

    def known(self, question: dns.Question) -> cache.Entry | None:
        """What the cache has, after a look at resolv.conf."""
        self._resolvers.refresh()
        return self._cache.get(_key(question), self._clock.monotonic())

    def can_ask(self) -> bool:
        """False: the answer is failure, and it is known now."""
        return bool(self._resolvers.order(self._clock.monotonic()))

    async def resolve(self, question: dns.Question, group: asyncio.TaskGroup) -> cache.Entry | None:
        """None: no resolver has an answer."""
        key = _key(question)
        flight = self._flights.get(key)
        if flight is None:
            flight = group.create_task(self._fly(question), name="dns question")
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        # The flight goes on for others, and for the cache, when this asker is gone.
        return await asyncio.shield(flight)

    async def _fly(self, question: dns.Question) -> cache.Entry | None:
        try:
            async with asyncio.timeout(self._settings.deadline):
                return await self._ask_all(question)
        except TimeoutError:
            return None
        except Exception:
            # The group is shared with everything that serves: a bug in one question stays there.
            log.exception("cannot resolve %s", dns.text(question.name))
            return None

    async def _ask_all(self, question: dns.Question) -> cache.Entry | None:
        asked = self._resolvers.order(self._clock.monotonic())
        for _ in range(ROUNDS):
            silent = []
            for resolver in asked:
                resolver.asked(self._clock.monotonic())
                try:
                    async with asyncio.timeout(self._settings.attempt):
                        response = await self._ask(resolver, question)
                except (TimeoutError, OSError, EOFError, dns.Malformed) as error:
                    log.debug("%s: %s: %r", resolver.address, dns.text(question.name), error)
                    resolver.failed(self._clock.monotonic())
                    if isinstance(error, TimeoutError):
                        silent.append(resolver)
                    continue
                resolver.answered()
                if response.body.rcode in (dns.NOERROR, dns.NXDOMAIN):
                    return self._keep(question, response.body)
            asked = [resolver for resolver in silent if not resolver.is_down()]
        return None

    def _keep(self, question: dns.Question, body: dns.Body) -> cache.Entry:
        kept = cache.kept(question, body)
        entry = cache.Entry(
            dns_encoding.pack(question, kept),
            self._clock.monotonic(),
            cache.lifetime(question, kept),
        )
        self._cache.put(_key(question), entry)
        return entry

    # --- one resolver ---------------------------------------------------------------------------

    async def _ask(self, resolver: resolvers.Resolver, question: dns.Question) -> dns.Response:
        """Raises OSError, EOFError, TimeoutError or Malformed."""
        if not resolver.plain:
            response = await self._ask_with(resolver, question, PAYLOAD)
            if response.body.rcode not in (dns.FORMERR, dns.NOTIMP):
                return response
            resolver.plain = True
        return await self._ask_with(resolver, question, None)

    async def _ask_with(
        self, resolver: resolvers.Resolver, question: dns.Question, payload: int | None
    ) -> dns.Response:
        query_id = secrets.randbits(16)
        query = dns_encoding.encode_query(query_id, question, payload)
        where = socket_address(resolver.address, self._settings.resolver_port)
        response = await _over_udp(where, query, query_id, question)
        if response.truncated:
            response = await _over_tcp(where, query, query_id, question)
        return response


def _key(question: dns.Question) -> cache.Key:
    return question.name.lower(), question.type


SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def socket_address(address: str, port: int) -> SocketAddress:
    """Raises OSError when the interface of a scoped address is not there."""
    ip, _, scope = address.partition("%")
    if ipaddress.ip_address(ip).version == 4:
        return ip, port
    index = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope) if scope else 0
    return ip, port, 0, index


async def _over_udp(
    where: SocketAddress, query: bytes, query_id: int, question: dns.Question
) -> dns.Response:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET if len(where) == 2 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connected:
        connected.connect(where)
        await loop.sock_sendall(connected, query)
        while True:
            response = _matching(await loop.sock_recv(connected, 4096), query_id, question)
            if response is not None:
                return response


async def _over_tcp(
    where: SocketAddress, query: bytes, query_id: int, question: dns.Question
) -> dns.Response:
    reader, writer = await asyncio.open_connection(*where[:2], limit=dns.MAX_MESSAGE)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        await writer.drain()
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        response = _matching(await reader.readexactly(length), query_id, question)
    finally:
        writer.transport.abort()
    if response is None or response.truncated:
        raise dns.Malformed("the answer over TCP is not to the question")
    return response


def _matching(data: bytes, query_id: int, question: dns.Question) -> dns.Response | None:
    """The response in `data` if it is to our question; anybody may send anything."""
    try:
        response = dns.decode_response(data)
    except dns.Malformed:
        return None
    if response.id != query_id:
        return None
    asked = response.question
    if asked is None:
        # Some leave the question out of an error.
        return response if response.body.rcode in (dns.FORMERR, dns.NOTIMP) else None
    same = (asked.name.lower(), asked.type, asked.klass) == (*_key(question), question.klass)
    return response if same else None
