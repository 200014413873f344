"""Listening on the network without being held up by whoever connects.

No more connections than can be looked after, in all and from one address: what is beyond is closed
where it is accepted, before TLS costs anything. A connection has a little while for its handshake,
and for its first whole request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from edgeorch.api import protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

_BACKLOG = 128
_FREEBIND = 15
"""IP_FREEBIND of ip(7), of IPv6 as well: the address may be one that a link brings later."""
_LOOPBACK = "127.0.0.1"
HANDSHAKE = 10.0
"""Seconds that a TLS handshake may take."""
FIRST_REQUEST = 30.0
"""Seconds until the first request of a connection must have come, headers and all."""
CONNECTIONS, PER_ADDRESS = 600, 300


def places(address: str, bridge: str) -> list[str]:
    """Where the API listens, if `address` is what the configuration says.

    Of one link alone: on the loopback too, for kubectl on the device, and on our own bridge, for
    pods. Those are there whether or not that link is.
    """
    only = ipaddress.ip_address(address)
    return [address] if only.is_unspecified or only.is_loopback else [address, _LOOPBACK, bridge]


def endpoint(address: str, host: str, bridge: str) -> str:
    """Where pods find it; "" for nowhere. `host`: where they find the device."""
    only = ipaddress.ip_address(address)
    if only.is_loopback:
        return ""
    return host if only.is_unspecified else bridge


class Crowd:
    """How many connections there are, and from where."""

    def __init__(self, most: int = CONNECTIONS, per_address: int = PER_ADDRESS) -> None:
        self._most = most
        self._per_address = per_address
        self._by_address: dict[str, int] = {}
        self.turned_away = 0

    def __len__(self) -> int:
        return sum(self._by_address.values())

    def enter(self, address: str) -> bool:
        count = self._by_address.get(address, 0)
        if count >= self._per_address or len(self) >= self._most:
            self.turned_away += 1
            return False
        self._by_address[address] = count + 1
        return True

    def leave(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class _Counted(socket.socket):
    """A connection that is in the crowd until it is closed."""

    __slots__ = ("crowd", "from_address")
    crowd: Crowd | None
    from_address: str

    def close(self) -> None:
        super().close()
        crowd, self.crowd = getattr(self, "crowd", None), None
        if crowd is not None:
            crowd.leave(self.from_address)


class Listener(socket.socket):
    """A socket whose `accept` gives only connections that the crowd has room for."""

    __slots__ = ("crowd",)
    crowd: Crowd

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises BlockingIOError when there is nobody else."""
        while True:
            accepted, address = super().accept()
            with accepted:
                if not self.crowd.enter(address[0]):
                    continue
                counted = _Counted(fileno=accepted.detach())
            counted.crowd, counted.from_address = self.crowd, address[0]
            return counted, address


class _Site(web.SockSite):
    """As aiohttp's, with a limit to the handshake."""

    __slots__ = ()

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner has not been set up")
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=HANDSHAKE if self._ssl_context else None,
        )


async def open_at(
    runner: web.ServerRunner, address: tuple[str, int], tls: ssl.SSLContext | None, crowd: Crowd
) -> tuple[str, int]:
    """Listen; the address with the port in use. Raises OSError when it cannot be had."""
    found = listener(address, crowd)
    try:
        await _Site(runner, found, ssl_context=tls, backlog=_BACKLOG).start()
    except BaseException:
        found.close()
        raise
    return address[0], found.getsockname()[1]


def listener(address: tuple[str, int], crowd: Crowd) -> Listener:
    """Bound. Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    found = Listener(family, socket.SOCK_STREAM)
    found.crowd = crowd
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind(address)
    except OSError as error:
        found.close()
        told = f"cannot listen on {address[0]} port {address[1]}: {error.strerror}"
        raise OSError(error.errno, told) from error
    return found


class Server(web.Server):
    """Hangs up on connections that bring no request."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any
    ) -> None:
        super().__init__(self._first, **options)
        self._handler = handler
        self._waiting: dict[RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> RequestHandler:
        return protocol.Handler(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        timer = self._loop.call_later(FIRST_REQUEST, transport.abort)
        self._waiting[handler] = timer

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._has_come(handler)

    async def _first(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._waiting:
            self._has_come(request.protocol)
        return await self._handler(request)

    def _has_come(self, handler: RequestHandler) -> None:
        timer = self._waiting.pop(handler, None)
        if timer is not None:
            timer.cancel()
