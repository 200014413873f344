"""The sockets: UDP and TCP on the bridge's address, port 53, and nowhere else.

IP_FREEBIND lets them be there before the bridge and outlive it, so nothing has to follow it coming
and going. Datagrams are read and answered in the reader callback, several at a time; only questions
for the resolvers become tasks, which are counted, for each client and in all. TCP connections are
counted as well, and closed after a silence (RFC 7766).
"""

from __future__ import annotations

import asyncio
import collections
import errno
import logging
import socket
import struct
from typing import TYPE_CHECKING

from edgeorch.dns import answering
from edgeorch.lib import backoff, metrics

if TYPE_CHECKING:
    from edgeorch.dns.settings import Settings

log = logging.getLogger(__name__)

RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=30.0)
"""Seconds between attempts to listen."""
BATCH = 64
"""Datagrams answered before others on the event loop have their turn."""
SETTLE_LIMIT = 3.0
"""Seconds that queries are left in the socket at start, until endpoints are known again."""

_MOST_QUERY = 4096
_BUFFER = 1 << 20
_BACKLOG = 128
_IPV6_FREEBIND = 78
_IP_FREEBIND = 15

Client = tuple[str, int]


class Counted:
    """How many there are, for each client and in all."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._by_client: collections.Counter[str] = collections.Counter()
        self.total = 0

    def admit(self, client: str) -> bool:
        if self.total >= self._most or self._by_client[client] >= self._most_of_one:
            return False
        self.total += 1
        self._by_client[client] += 1
        return True

    def release(self, client: str) -> None:
        self.total -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


class Server:
    """Owner of the listening sockets and of all that is under way for clients."""

    def __init__(self, answers: answering.Answering, settings: Settings) -> None:
        self._answers = answers
        self._settings = settings
        self._trouble: str | None = "not listening yet"
        self._broken: asyncio.Future[None] | None = None
        self.pending = Counted(settings.most_pending, settings.most_pending_of_one)
        self.connections = Counted(settings.most_connections, settings.most_connections_of_one)
        self.queries = metrics.Counter(
            "edgeorch_dns_queries_total", "DNS queries by protocol.", ("protocol",)
        )
        self.limited = metrics.Counter(
            "edgeorch_dns_turned_away_total",
            "DNS queries and connections that were too many at once.",
        )
        self._unsent = metrics.Counter(
            "edgeorch_dns_unsent_total", "Replies to DNS queries that could not be sent."
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self.queries, self.limited, self._unsent)
        self._answers.measure(registry)

    def health(self) -> str | None:
        """Why names may not be found, or None."""
        return self._trouble

    async def run(self, settled: asyncio.Event | None = None) -> None:
        """Listen for ever. Queries wait until `settled` is set, for a while."""
        failures = 0
        while True:
            try:
                udp, tcp = open_sockets(self._settings.address, self._settings.port)
            except OSError as error:
                self._fail(error)
                await asyncio.sleep(RETRY.delay(failures))
                failures += 1
                continue
            failures = 0
            self._trouble = None
            with udp, tcp:
                await _await_settled(settled)
                await self._serve(udp, tcp)

    def _fail(self, error: OSError) -> None:
        told = why_not(error, self._settings.address, self._settings.port)
        if told != self._trouble:
            log.error("DNS: %s", told)
        self._trouble = told

    async def _serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Until a socket breaks."""
        loop = asyncio.get_running_loop()
        self._broken = loop.create_future()
        async with asyncio.TaskGroup() as group:

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.create_task(self._converse(reader, writer, group), name="dns connection")

            listener = await asyncio.start_server(connected, sock=tcp)
            loop.add_reader(udp, self._readable, udp, group)
            try:
                await self._broken
            finally:
                self._trouble = "not listening"
                loop.remove_reader(udp)
                listener.close()

    # --- UDP ------------------------------------------------------------------------------------

    def _readable(self, udp: socket.socket, group: asyncio.TaskGroup) -> None:
        for _ in range(BATCH):
            try:
                data, client = udp.recvfrom(_MOST_QUERY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._break(error)
                return
            self.queries.add("udp")
            try:
                self._datagram(udp, group, data, client)
            except Exception:
                # Whatever a client can provoke must not concern the next one.
                log.exception("cannot answer a query of %s", client[0])

    def _break(self, error: OSError) -> None:
        if self._broken is not None and not self._broken.done():
            log.error("DNS: opening the sockets again: %s", error)
            self._broken.set_result(None)

    def _datagram(
        self, udp: socket.socket, group: asyncio.TaskGroup, data: bytes, client: Client
    ) -> None:
        reply = self._answers.now(data, client[0], udp=True)
        if isinstance(reply, bytes):
            self._send(udp, reply, client)
        elif self.pending.admit(client[0]):
            group.create_task(self._reply_later(udp, group, reply, client), name="dns client")
        else:
            self.limited.add()
            self._send(udp, self._answers.failure(reply), client)

    async def _reply_later(
        self,
        udp: socket.socket,
        group: asyncio.TaskGroup,
        pending: answering.Pending,
        client: Client,
    ) -> None:
        try:
            self._send(udp, await self._answers.later(pending, group), client)
        except Exception:
            log.exception("cannot answer a query of %s", client[0])
        finally:
            self.pending.release(client[0])

    def _send(self, udp: socket.socket, reply: bytes, client: Client) -> None:
        if not reply:
            return
        try:
            udp.sendto(reply, client)
        except OSError as error:
            # The client asks again; it may also be gone, with its route.
            self._unsent.add()
            log.debug("cannot reply to %s: %s", client[0], error)

    # --- TCP ------------------------------------------------------------------------------------

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        group: asyncio.TaskGroup,
    ) -> None:
        peer = writer.get_extra_info("peername")
        client = peer[0] if peer else ""
        if not client or not self.connections.admit(client):
            self.limited.add()
            writer.transport.abort()
            return
        try:
            while await self._exchange(reader, writer, group, client):
                pass
        except (OSError, EOFError, TimeoutError) as error:
            log.debug("connection of %s ended: %r", client, error)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except Exception:
            log.exception("cannot answer a query of %s", client)
        finally:
            await self._close(writer)
            self.connections.release(client)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """What was written still arrives, unless the client does not take it."""
        writer.close()
        try:
            async with asyncio.timeout(self._settings.idle):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        group: asyncio.TaskGroup,
        client: str,
    ) -> bool:
        """One query and its reply; False when there is nothing more to say to this client."""
        async with asyncio.timeout(self._settings.idle):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            data = await reader.readexactly(length)
        self.queries.add("tcp")
        reply = self._answers.now(data, client, udp=False)
        if isinstance(reply, answering.Pending):
            reply = await self._answers.later(reply, group)
        if not reply:
            return False
        async with asyncio.timeout(self._settings.idle):
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
        return True


async def _await_settled(settled: asyncio.Event | None) -> None:
    if settled is None or settled.is_set():
        return
    try:
        async with asyncio.timeout(SETTLE_LIMIT):
            await settled.wait()
    except TimeoutError:
        log.warning("Answering queries before endpoints are known again")


def why_not(error: OSError, address: str, port: int) -> str:
    """Why it cannot listen, and what to do about it where that is known."""
    told = f"cannot listen on {address}:{port}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        told += (
            ": another DNS server listens on all addresses; bind it to its own "
            '(dnsmasq: "bind-dynamic" and "except-interface"; unbound, bind: list the '
            "addresses) or stop it"
        )
    return told


def open_sockets(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP, bound. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        for each in (udp, tcp):
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            else:
                each.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        # Not for UDP, where it would let two servers share the port.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        udp.bind((address, port))
        tcp.bind((address, port))
        tcp.listen(_BACKLOG)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
