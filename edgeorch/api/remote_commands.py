"""exec and attach: a process' standard streams over a WebSocket or a SPDY connection.

One coroutine reads the client and writes stdin; one for each output reads the process and writes
the client; each waits for the one it feeds, so nothing piles up in between: a slow client slows the
process, a slow process the client. Whoever ends first ends the rest: a process that has ended is
told of after the last of its output; a client that has left takes its process with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from edgeorch.api import links, spdy_sessions
from edgeorch.model import errors
from edgeorch.wire import channels, remote_command, spdy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from edgeorch.api import ports

log = logging.getLogger(__name__)

STREAM_CREATION = 30.0
"""Seconds that a SPDY client has to open its streams, as the kubelet gives it."""

_OUTPUTS = {"stdout": channels.STDOUT, "stderr": channels.STDERR}
_STREAM_TYPES = {
    "stdin": channels.STDIN,
    "stdout": channels.STDOUT,
    "stderr": channels.STDERR,
    "error": channels.ERROR,
    "resize": channels.RESIZE,
}


class Wanted(Struct, frozen=True):
    """The streams that the client asks for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channel(self, output: str) -> int | None:
        asked = self.stdout if output == "stdout" else self.stderr
        return _OUTPUTS[output] if asked else None


class Peer(Protocol):
    """The client, whatever it speaks."""

    version: int
    pulse: links.Pulse

    async def receive(self) -> tuple[int, bytes] | None:
        """Channel and data; no data: the channel has ended. None when the client has left."""

    async def send(self, channel: int, data: bytes) -> None:
        """Raises links.Gone."""

    async def finish(self, said: bytes) -> None:
        """The last words, on the error channel. Raises links.Gone."""


# --- the conversation -----------------------------------------------------------------------------


async def run(
    peer: Peer, opening: AbstractAsyncContextManager[ports.Process], wanted: Wanted
) -> None:
    """Until one side ends. A process that cannot be had is told of like one that failed."""
    try:
        async with opening as process:
            status = remote_command.ended(await _converse(peer, process, wanted))
    except errors.StatusError as error:
        status = _failure(error)
    except ExceptionGroup as group:
        gone, rest = group.split((links.Gone, errors.StatusError))
        if rest is not None:
            raise
        if gone is None or (lost := _first(gone, errors.StatusError)) is None:
            return
        status = _failure(lost)
    with contextlib.suppress(links.Gone):
        await peer.finish(remote_command.said(status, peer.version))


def _failure(error: errors.StatusError) -> remote_command.Status:
    return {**error.status(), "metadata": {}}


def _first(group: BaseException, kind: type[errors.StatusError]) -> errors.StatusError | None:
    if isinstance(group, kind):
        return group
    if isinstance(group, BaseExceptionGroup):
        for each in group.exceptions:
            if (found := _first(each, kind)) is not None:
                return found
    return None


async def _converse(peer: Peer, process: ports.Process, wanted: Wanted) -> int:
    async with asyncio.TaskGroup() as group:
        guards = [
            group.create_task(peer.pulse.watch()),
            group.create_task(_inwards(peer, process, wanted)),
        ]
        outputs = [
            group.create_task(_outwards(peer, output, wanted.channel(name)))
            for name, output in process.outputs().items()
        ]
        if outputs:
            await asyncio.wait(outputs)
        code = await process.wait()
        for guard in guards:
            guard.cancel()
    return code


async def _inwards(peer: Peer, process: ports.Process, wanted: Wanted) -> None:
    """Ends only by raising Gone."""
    sizes = remote_command.Sizes()
    while (received := await peer.receive()) is not None:
        match received:
            case channels.STDIN, b"" if wanted.stdin:
                await process.close_stdin()
            case channels.STDIN, data if wanted.stdin:
                await process.write(data)
            case channels.RESIZE, data if wanted.tty:
                for width, height in sizes.feed(data):
                    await process.resize(width, height)
            case _:
                pass
    raise links.Gone("the client has left")


async def _outwards(peer: Peer, output: AsyncIterator[bytes], channel: int | None) -> None:
    async for data in output:
        if channel is not None:
            await peer.send(channel, data)


# --- WebSocket ------------------------------------------------------------------------------------


class SocketPeer:
    """A client with one of the channel.k8s.io subprotocols."""

    def __init__(self, socket: links.Socket, subprotocol: channels.Subprotocol) -> None:
        self._socket = socket
        self._subprotocol = subprotocol
        self.version = subprotocol.version
        self.pulse = socket.pulse

    async def greet(self, wanted: Wanted) -> None:
        """An empty message: the connection stands. Old clients wait for it."""
        first = channels.ERROR
        if wanted.stdout or wanted.stderr:
            first = channels.STDOUT if wanted.stdout else channels.STDERR
        with contextlib.suppress(links.Gone):  # found out by the first read
            await self.send(first, b"")

    async def receive(self) -> tuple[int, bytes] | None:
        while message := await self._socket.read():
            try:
                channel, data = self._subprotocol.decode(message)
            except channels.ProtocolError as error:
                await self._socket.refuse(str(error))
                return None
            closed = self._subprotocol.closes(channel, data)
            if closed is not None:
                return closed, b""
            if data:
                return channel, data
        return None

    async def send(self, channel: int, data: bytes) -> None:
        if self._subprotocol.text:
            await self._socket.write_text(self._subprotocol.encode(channel, data))
        else:
            await self._socket.write(bytes((channel,)), data)

    async def finish(self, said: bytes) -> None:
        if said:
            await self.send(channels.ERROR, said)
        await self._socket.close()


# --- SPDY -----------------------------------------------------------------------------------------


class SpdyPeer:
    """A client with a stream for each channel."""

    def __init__(self, link: links.Link, version: int) -> None:
        self._link = link
        self._session = spdy_sessions.Session(link)
        self._ids: dict[int, int] = {}
        self._channels: dict[int, int] = {}
        self._early: list[tuple[int, bytes]] = []
        self.version = version
        self.pulse = link.pulse

    async def open(self, wanted: Wanted) -> bool:
        """Wait for the streams that `wanted` makes the client open; False when they do not come."""
        expected = {channels.ERROR}
        asked = ((channels.STDIN, wanted.stdin), (channels.STDOUT, wanted.stdout))
        expected |= {channel for channel, there in asked if there}
        if wanted.stderr:
            expected.add(channels.STDERR)
        if wanted.tty and remote_command.resize_has_stream(self.version):
            expected.add(channels.RESIZE)
        try:
            async with asyncio.timeout(STREAM_CREATION):
                while not expected <= self._ids.keys():
                    if (received := await self._event()) is None:
                        return False
                    self._early += received
        except TimeoutError:
            log.info("A client has not opened its streams within %.0f s", STREAM_CREATION)
            return False
        except links.Gone:
            return False
        return True

    async def receive(self) -> tuple[int, bytes] | None:
        while not self._early:
            if (received := await self._event()) is None:
                return None
            self._early += received
        return self._early.pop(0)

    async def send(self, channel: int, data: bytes) -> None:
        if (stream := self._ids.get(channel)) is not None:
            await self._session.send(stream, data)

    async def finish(self, said: bytes) -> None:
        for channel in (channels.STDOUT, channels.STDERR):
            if (stream := self._ids.get(channel)) is not None:
                await self._session.finish(stream)
        if (stream := self._ids.get(channels.ERROR)) is not None:
            await self._session.send(stream, said)
            await self._session.finish(stream)
        for stream in self._ids.values():
            await self._session.finish(stream)

    async def _event(self) -> list[tuple[int, bytes]] | None:
        """What one event means for the channels; None when the client has left."""
        try:
            event = await self._session.next()
        except spdy.ProtocolError as error:
            log.info("A client broke the protocol: %s", error)
            return None
        match event:
            case None:
                return None
            case spdy_sessions.Opened(stream, headers):
                await self._opened(stream, headers.get("streamtype", ""))
                return []
            case spdy_sessions.Received(stream, data):
                return [(self._channels[stream], data)] if stream in self._channels else []
            case spdy_sessions.Ended(stream):
                return [(self._channels[stream], b"")] if stream in self._channels else []

    async def _opened(self, stream: int, kind: str) -> None:
        channel = _STREAM_TYPES.get(kind)
        if channel is None or channel in self._ids:
            await self._session.reset(stream, spdy.PROTOCOL_ERROR)
            return
        self._ids[channel] = stream
        self._channels[stream] = channel
        await self._session.reply(stream)
