"""The server's end of a SPDY/3.1 connection: streams that the client opens, over any link.

Owns the stream states. What arrives is handed out in order by `next`, one reader; pings are
answered on the way. Nothing is buffered here beyond one read: who does not come for the next event
stops the client. Rules and limits are those of moby/spdystream, which is at the other end.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.wire import spdy

if TYPE_CHECKING:
    from edgeorch.api import links

WRITE_SIZE = 32 * 1024
MAX_STREAMS = 2000
"""Open at once in one connection."""


class Opened(Struct, frozen=True):
    """To be answered with `reply` or `reset`."""

    stream: int
    headers: Mapping[str, str]


class Received(Struct, frozen=True):
    stream: int
    data: bytes


class Ended(Struct, frozen=True):
    """No more comes from the client in this stream."""

    stream: int
    reset: bool = False


Event = Opened | Received | Ended


class _Stream(Struct):
    theirs: bool = True
    """Whether the client may still send; `ours`: whether we may."""
    ours: bool = True


class Session:
    def __init__(self, link: links.Link) -> None:
        self._link = link
        self._encoder = spdy.Encoder()
        self._decoder = spdy.Decoder()
        self._frames: Iterator[spdy.Frame] = iter(())
        self._events: collections.deque[Event] = collections.deque()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._going = False

    async def next(self) -> Event | None:
        """What the client did; None when it has left. Raises spdy.ProtocolError, Gone."""
        while not self._events:
            frame = next(self._frames, None)
            if frame is not None:
                await self._take(frame)
                continue
            if self._going and not self._streams:
                return None
            data = await self._link.read()
            if not data:
                return None
            self._frames = self._decoder.feed(data)
        return self._events.popleft()

    async def reply(self, stream: int) -> None:
        if stream in self._streams:
            await self._link.write(self._encoder.encode(spdy.SynReply(stream)))

    async def send(self, stream: int, data: bytes) -> None:
        """Nothing happens when the client does not want it any more. Raises Gone."""
        view = memoryview(data)
        while view and stream in self._streams and self._streams[stream].ours:
            piece, view = view[:WRITE_SIZE], view[WRITE_SIZE:]
            await self._link.write(spdy.data_head(stream, len(piece)), bytes(piece))

    async def finish(self, stream: int) -> None:
        """We send no more in this stream."""
        found = self._streams.get(stream)
        if found is None or not found.ours:
            return
        found.ours = False
        self._forget(stream, found)
        await self._link.write(spdy.data_head(stream, 0, fin=True))

    async def reset(self, stream: int, status: int = spdy.CANCEL) -> None:
        if self._streams.pop(stream, None) is not None:
            await self._link.write(self._encoder.encode(spdy.RstStream(stream, status)))

    async def go_away(self) -> None:
        await self._link.write(self._encoder.encode(spdy.GoAway(self._last)))

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Data(stream, data, fin):
                self._data(stream, data, fin)
            case spdy.SynStream():
                await self._opened(frame)
            case spdy.RstStream(stream, _):
                if self._streams.pop(stream, None) is not None:
                    self._events.append(Ended(stream, reset=True))
            case spdy.Headers(stream, _, fin):
                self._data(stream, b"", fin)
            case spdy.Ping(number) if number & 1:
                self._link.pulse.pings = True
                await self._link.write(self._encoder.encode(frame))
            case spdy.GoAway():
                self._going = True
            case _:
                pass  # replies to what we never opened, settings, windows

    async def _opened(self, frame: spdy.SynStream) -> None:
        stream = frame.stream
        # Older clients may send streams in another order than they number them.
        if not stream & 1 or stream in self._streams:
            raise spdy.ProtocolError(f"stream {stream} cannot be opened")
        self._last = max(self._last, stream)
        if len(self._streams) >= MAX_STREAMS or self._going:
            refused = spdy.RstStream(stream, spdy.REFUSED_STREAM)
            await self._link.write(self._encoder.encode(refused))
            return
        self._streams[stream] = _Stream(theirs=True, ours=not frame.unidirectional)
        self._events.append(Opened(stream, frame.headers))
        if frame.fin:
            self._data(stream, b"", True)

    def _data(self, stream: int, data: bytes, fin: bool) -> None:
        found = self._streams.get(stream)
        if found is None or not found.theirs:
            return  # it was on its way when the stream ended
        if data:
            self._events.append(Received(stream, data))
        if fin:
            found.theirs = False
            self._events.append(Ended(stream))
            self._forget(stream, found)

    def _forget(self, stream: int, found: _Stream) -> None:
        if not (found.ours or found.theirs):
            self._streams.pop(stream, None)
