"""The connection under a stream, once HTTP is done with it, and how it is known to be dead.

A link is read only as fast as somebody takes what was read, and a write returns when there is room
again: the peer's TCP window is the only buffer that grows. The other side of that: who does not
read does not see the peer leave either. So `watch` looks at the socket itself every few seconds;
the kernel's keepalive tells it of peers that vanished. Clients that ping (kubectl: every 5 s) are
given up after the silence after which they would give us up.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING, Protocol

from aiohttp import WSCloseCode, web

from edgeorch.model import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_SIZE = 64 * 1024
IDLE = 4 * 3600.0
"""Seconds without a byte either way: the kubelet's streamingConnectionIdleTimeout."""
SILENCE = 61.0
LOOK = 5.0
LINGER = 10.0
"""Seconds that a client has to close a connection on which all is said."""
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 15,
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,
}
_MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of a WebSocket message: what the API server's own reader takes."""
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Gone(Exception):
    """The client has left, or is taken to have left."""


class Pulse:
    """Signs of life of one connection."""

    def __init__(self, transport: asyncio.BaseTransport | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = transport.get_extra_info("socket") if transport else None
        self._heard = self._active = self._loop.time()
        self.pings = False
        self.listening = False
        """Whether somebody waits to hear: silence counts only then."""
        _keep_alive(self._socket)

    def heard(self) -> None:
        self._heard = self._active = self._loop.time()

    def sent(self) -> None:
        self._active = self._loop.time()

    async def watch(self) -> None:
        """Raises Gone when there is nobody any more. Never returns."""
        while True:
            await asyncio.sleep(LOOK)
            now = self._loop.time()
            if self._hung_up():
                raise Gone("the client has closed the connection")
            if self.pings and self.listening and now - self._heard > SILENCE:
                raise Gone(f"no sign of the client for {SILENCE:.0f} s")
            if now - self._active > IDLE:
                raise Gone("idle")

    def _hung_up(self) -> bool:
        if self._socket is None or self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), _GONE)
        return any(event & _GONE for _, event in poll.poll(0))


def _keep_alive(sock: socket.socket | None) -> None:
    if sock is None or sock.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):  # closed already: the first read says so
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Link(Protocol):
    """Bytes both ways."""

    pulse: Pulse

    async def read(self) -> bytes:
        """b"" when the client is gone. One reader at a time."""

    async def write(self, head: bytes, data: bytes = b"") -> None:
        """Both, together. Raises Gone."""

    async def close(self) -> None:
        """All is said: let the client read it and leave."""


# --- a connection taken over from HTTP ------------------------------------------------------------


class Upgraded(web.StreamResponse):
    """What HTTP is told of a connection that is no longer HTTP's: nothing is to be sent."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        del request

    async def write_eof(self, data: bytes = b"") -> None:
        del data


class _Taken(asyncio.StreamReaderProtocol):
    """Tells the HTTP protocol, which had the transport before, when the connection is lost."""

    def __init__(self, reader: asyncio.StreamReader, http: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._http: asyncio.BaseProtocol | None = http

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        http, self._http = self._http, None
        if http is not None:
            http.connection_lost(exc)


class TakenLink:
    """Made by `take_over`."""

    def __init__(self, transport: asyncio.Transport, http: asyncio.BaseProtocol) -> None:
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=READ_SIZE)
        protocol = _Taken(self._reader, http)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        self.pulse = Pulse(transport)

    async def read(self) -> bytes:
        self.pulse.listening = True
        try:
            data = await self._reader.read(READ_SIZE)
        except OSError:
            return b""
        finally:
            self.pulse.listening = False
        self.pulse.heard()
        return data

    async def write(self, head: bytes, data: bytes = b"") -> None:
        if self._writer.transport.is_closing():
            raise Gone("the connection is closed")
        self._writer.writelines((head, data) if data else (head,))
        try:
            await self._writer.drain()
        except OSError as error:
            raise Gone(str(error)) from None
        self.pulse.sent()

    async def close(self) -> None:
        # Closed with bytes unread, a connection is reset, and the client may lose our last words.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self.read():
                    pass
        self._writer.close()


def take_over(request: web.BaseRequest, headers: Mapping[str, str]) -> TakenLink:
    """Answer 101 and have the connection. Return an `Upgraded` to HTTP afterwards. Raises Gone."""
    transport = request.transport
    if transport is None:
        raise Gone("the connection is closed")
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return TakenLink(transport, request.protocol)


# --- WebSockets -----------------------------------------------------------------------------------


class Socket:
    """A WebSocket: messages both ways, pings answered."""

    def __init__(self, response: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self._response = response
        self.pulse = Pulse(request.transport)

    async def read(self) -> bytes:
        """The next message; b"" when the client is gone. (Empty messages are passed over.)"""
        while True:
            self.pulse.listening = True
            try:
                message = await self._response.receive()
            finally:
                self.pulse.listening = False
            self.pulse.heard()
            match message.type:
                case web.WSMsgType.BINARY if message.data:
                    return bytes(message.data)
                case web.WSMsgType.TEXT if message.data:
                    return str(message.data).encode()
                case web.WSMsgType.PING:
                    self.pulse.pings = True
                    await self._pong(message.data)
                case web.WSMsgType.CLOSE | web.WSMsgType.CLOSING | web.WSMsgType.CLOSED:
                    return b""
                case web.WSMsgType.ERROR:
                    return b""
                case _:
                    pass

    async def write(self, head: bytes, data: bytes = b"") -> None:
        """One binary message."""
        try:
            await self._response.send_bytes(head + data)
        except OSError as error:
            raise Gone(str(error)) from None
        self.pulse.sent()

    async def write_text(self, text: bytes) -> None:
        try:
            await self._response.send_str(text.decode())
        except OSError as error:
            raise Gone(str(error)) from None
        self.pulse.sent()

    async def refuse(self, why: str) -> None:
        """The client does not keep to the subprotocol."""
        await self._response.close(code=WSCloseCode.PROTOCOL_ERROR, message=why.encode()[:120])

    async def close(self) -> None:
        await self._response.close()

    async def _pong(self, data: bytes) -> None:
        # A client that has just left is found out by the next read.
        with contextlib.suppress(OSError):
            await self._response.pong(data)


async def open_socket(
    request: web.BaseRequest, protocols: list[str]
) -> tuple[web.WebSocketResponse, Socket]:
    """Answer 101. Raises StatusError (400) when the request is no proper one."""
    response = web.WebSocketResponse(
        protocols=protocols,
        autoping=False,
        compress=False,
        max_msg_size=_MAX_MESSAGE,
        timeout=LINGER,
    )
    try:
        await response.prepare(request)
    except web.HTTPException as error:
        raise errors.bad_request(f"the WebSocket cannot be opened: {error.text}") from None
    return response, Socket(response, request)
