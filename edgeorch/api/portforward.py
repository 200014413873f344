"""port-forward: connections to a pod's localhost over SPDY streams or WebSocket channels.

With SPDY (by plain upgrade, or inside a WebSocket) each connection is a pair of streams, error and
data, with the port in their headers; any number come and go. With the older WebSocket subprotocols
there is one connection for each port of the query. A connection that is behind is given a bounded
inbox, then the whole client waits for it: neither SPDY end knows windows.

Source: k8s.io/kubelet cri/streaming/portforward, KEP-4006
"""

from __future__ import annotations

import asyncio
import collections
import logging
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.api import links, spdy_sessions
from edgeorch.model import errors
from edgeorch.wire import channels, spdy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from edgeorch.api import ports
    from edgeorch.model.kinds import Object

log = logging.getLogger(__name__)

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"

_STREAM_CREATION = 30.0
_AFTERWARDS = 5.0
"""Seconds in which a client may still send what a pod that has said all may still read."""
_READ_SIZE = 32 * 1024
_INBOX = 256 * 1024


class Inbox:
    """What a client has sent for one connection and the pod has not taken yet. Bounded."""

    def __init__(self) -> None:
        self._pieces: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._ended = self._closed = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Waits while it is full; drops what nobody will take."""
        while self._size >= _INBOX and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if not (self._closed or self._ended):
            self._pieces.append(data)
            self._size += len(data)
            self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Nobody takes anything any more."""
        self._closed = True
        self._pieces.clear()
        self._changed.set()

    async def take(self) -> bytes:
        """b"" at the end."""
        while not self._pieces:
            if self._ended or self._closed:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._pieces.popleft()
        self._size -= len(data)
        self._changed.set()
        return data


class Forwarder:
    """Connects to one pod, for all connections of one client."""

    def __init__(self, dialer: ports.Dialer, pod: Object) -> None:
        self._dialer = dialer
        self._pod = pod

    async def forward(
        self,
        port: int,
        inbox: Inbox,
        send: Callable[[bytes], Awaitable[None]],
        ended: Callable[[str], Awaitable[None]],
    ) -> None:
        """Both ways until both have ended. `ended` hears when the pod has said all.

        With the words for the error stream, "" when all was well. Raises Gone.
        """
        try:
            reader, writer = await self._dialer.connect(self._pod, port)
        except errors.StatusError as error:
            inbox.close()
            await ended(self.failure(port, error.message))
            return
        upwards = asyncio.create_task(_upwards(inbox, writer), name=f"port-forward {port}")
        try:
            await _downwards(reader, send)
            await ended("")
            await asyncio.wait([upwards], timeout=_AFTERWARDS)
        finally:
            upwards.cancel()
            inbox.close()
            await _close(writer)
            await asyncio.wait([upwards])

    def failure(self, port: int, why: str) -> str:
        meta = self._pod["metadata"]
        return f"error forwarding port {port} to pod {meta['name']}, uid {meta['uid']}: {why}"


async def _downwards(
    reader: asyncio.StreamReader, send: Callable[[bytes], Awaitable[None]]
) -> None:
    """From the pod to the client. A connection that the pod resets has ended."""
    while True:
        try:
            data = await reader.read(_READ_SIZE)
        except OSError:
            return
        if not data:
            return
        await send(data)


async def _upwards(inbox: Inbox, writer: asyncio.StreamWriter) -> None:
    """From the client to the pod. What the pod does not take is dropped."""
    try:
        while data := await inbox.take():
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass
    finally:
        inbox.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    """What is written already, the pod may still take."""
    writer.close()
    try:
        async with asyncio.timeout(_AFTERWARDS):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


# --- SPDY -----------------------------------------------------------------------------------------


class _Pair(Struct):
    """One connection to be: the client opens both streams, in any order."""

    port: int
    streams: dict[str, int] = field(default_factory=dict)
    inbox: Inbox = field(default_factory=Inbox)
    timer: asyncio.TimerHandle | None = None


class SpdyForwarding:
    """All connections of one SPDY client."""

    def __init__(self, link: links.Link, forwarder: Forwarder) -> None:
        self._link = link
        self._session = spdy_sessions.Session(link)
        self._forwarder = forwarder
        self._pairs: dict[str, _Pair] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._forwards: dict[int, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Until the client leaves."""
        try:
            async with self._group:
                guard = self._group.create_task(self._link.pulse.watch())
                await self._read()
                # Connections end with their client.
                guard.cancel()
                raise links.Gone("the client has left")
        except* links.Gone:
            pass
        finally:
            for pair in self._pairs.values():
                if pair.timer is not None:
                    pair.timer.cancel()

    async def _read(self) -> None:
        try:
            while (event := await self._session.next()) is not None:
                match event:
                    case spdy_sessions.Opened(stream, headers):
                        await self._opened(stream, headers)
                    case spdy_sessions.Received(stream, data):
                        if (inbox := self._inboxes.get(stream)) is not None:
                            await inbox.put(data)
                    case spdy_sessions.Ended(stream, reset):
                        self._ended(stream, reset)
        except spdy.ProtocolError as error:
            log.info("A client broke the protocol: %s", error)

    def _ended(self, stream: int, reset: bool) -> None:
        inbox = self._inboxes.pop(stream, None)
        if inbox is not None:
            inbox.end()
        if reset and (forward := self._forwards.get(stream)) is not None:
            forward.cancel()

    async def _opened(self, stream: int, headers: Mapping[str, str]) -> None:
        kind, port = headers.get("streamtype", ""), _port(headers.get("port", ""))
        if port is None or kind not in ("error", "data"):
            await self._session.reset(stream, spdy.PROTOCOL_ERROR)
            return
        # Clients of old name no request: its streams follow each other.
        request = headers.get("requestid") or str(stream if kind == "error" else stream - 2)
        pair = self._pairs.get(request)
        if pair is None:
            pair = self._pairs[request] = _Pair(port)
            loop = asyncio.get_running_loop()
            pair.timer = loop.call_later(_STREAM_CREATION, self._expire, request)
        if kind in pair.streams:
            await self._session.reset(stream, spdy.PROTOCOL_ERROR)
            return
        pair.streams[kind] = stream
        if kind == "data":
            pair.port = port
            self._inboxes[stream] = pair.inbox
        await self._session.reply(stream)
        if len(pair.streams) == 2:
            del self._pairs[request]
            if pair.timer is not None:
                pair.timer.cancel()
            self._begin(pair)

    def _begin(self, pair: _Pair) -> None:
        data = pair.streams["data"]
        forward = self._group.create_task(self._forward(pair), name=f"port-forward {pair.port}")
        self._forwards[data] = forward
        forward.add_done_callback(lambda _: self._forwards.pop(data, None))

    def _expire(self, request: str) -> None:
        pair = self._pairs.pop(request)
        self._group.create_task(self._give_up(request, pair))

    async def _give_up(self, request: str, pair: _Pair) -> None:
        pair.inbox.close()
        if (stream := pair.streams.get("error")) is not None:
            why = f"(request={request}) timed out waiting for streams"
            await self._session.send(stream, why.encode())
        for stream in pair.streams.values():
            await self._session.finish(stream)

    async def _forward(self, pair: _Pair) -> None:
        data, error = pair.streams["data"], pair.streams["error"]

        async def send(piece: bytes) -> None:
            await self._session.send(data, piece)

        async def ended(told: str) -> None:
            if told:
                await self._session.send(error, told.encode())
            await self._session.finish(data)
            await self._session.finish(error)

        try:
            await self._forwarder.forward(pair.port, pair.inbox, send, ended)
        finally:
            self._inboxes.pop(data, None)


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 2**16 else None


# --- WebSocket channels ---------------------------------------------------------------------------


def ports_of(asked: list[str]) -> list[int]:
    """The ports of a query. Raises StatusError (400)."""
    if not asked:
        raise errors.bad_request('query parameter "ports" is required')
    found = []
    for text in ",".join(asked).split(","):
        if (port := _port(text)) is None:
            raise errors.bad_request(f'unable to parse "{text}" as a port')
        found.append(port)
    if len(found) > 100:
        raise errors.bad_request("too many ports")
    return found


class SocketForwarding:
    """One connection for each port, over the channels of one WebSocket."""

    def __init__(
        self,
        socket: links.Socket,
        subprotocol: channels.Subprotocol,
        forwarder: Forwarder,
        asked: list[int],
    ) -> None:
        self._socket = socket
        self._subprotocol = subprotocol
        self._forwarder = forwarder
        self._ports = asked
        self._inboxes = [Inbox() for _ in asked]

    async def run(self) -> None:
        """Until the client leaves, or all connections have ended."""
        try:
            await self._talk()
            await self._socket.close()
        except* links.Gone:
            pass

    async def _talk(self) -> None:
        async with asyncio.TaskGroup() as group:
            guards = [
                group.create_task(self._socket.pulse.watch()),
                group.create_task(self._read()),
            ]
            for number, port in enumerate(self._ports):
                for channel in (2 * number, 2 * number + 1):
                    await self._send(channel, port.to_bytes(2, "little"))
            forwards = [
                group.create_task(self._forward(number)) for number in range(len(self._ports))
            ]
            await asyncio.wait(forwards)
            for guard in guards:
                guard.cancel()

    async def _read(self) -> None:
        while message := await self._socket.read():
            try:
                channel, data = self._subprotocol.decode(message)
            except channels.ProtocolError as error:
                await self._socket.refuse(str(error))
                break
            number, other = divmod(channel, 2)
            if data and not other and number < len(self._inboxes):
                await self._inboxes[number].put(data)
        raise links.Gone("the client has left")

    async def _forward(self, number: int) -> None:
        async def send(piece: bytes) -> None:
            await self._send(2 * number, piece)

        async def ended(told: str) -> None:
            if told:
                await self._send(2 * number + 1, told.encode())

        await self._forwarder.forward(self._ports[number], self._inboxes[number], send, ended)

    async def _send(self, channel: int, data: bytes) -> None:
        message = self._subprotocol.encode(channel, data)
        if self._subprotocol.text:
            await self._socket.write_text(message)
        else:
            await self._socket.write(message)
