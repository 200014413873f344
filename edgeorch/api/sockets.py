"""Logs and watches over a WebSocket: for browsers, and whoever speaks nothing else.

A log's pieces are messages of their own, binary or base64 as the subprotocol says, after an empty
one that tells that the connection stands; a watch sends one event a message, as text. What the
client sends is read for its pings and its leaving only.

Imported with the first such client. Source: k8s.io/apimachinery util/httpstream/wsstream,
k8s.io/apiserver pkg/endpoints/handlers/watch.go
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Protocol

from aiohttp import WSCloseCode

from edgeorch.api import links
from edgeorch.model import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from edgeorch.api.call import Call

_BASE64 = "base64.binary.k8s.io"
_LOG = ("binary.k8s.io", _BASE64)


class Outlet(Protocol):
    """Where an answer goes: a part of aiohttp's StreamResponse."""

    async def write(self, data: bytes) -> None: ...


class _Pieces:
    """Whatever is written is a message."""

    def __init__(self, socket: links.Socket, *, text: bool) -> None:
        self._socket = socket
        self._text = text

    async def write(self, data: bytes) -> None:
        if self._text:
            await self._socket.write_text(base64.b64encode(data))
        else:
            await self._socket.write(data)


class _Lines:
    """Every line that is written is a message of text."""

    def __init__(self, socket: links.Socket) -> None:
        self._socket = socket

    async def write(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line:
                await self._socket.write_text(line)


async def log(call: Call, pour: Callable[[Outlet], Awaitable[None]]) -> web.StreamResponse:
    """Raises StatusError (400) before the upgrade, nothing afterwards."""
    header = call.header("Sec-WebSocket-Protocol")
    offered = [name for part in header.split(",") if (name := part.strip())]
    chosen = next((name for name in offered if name in _LOG), "")
    if offered and not chosen:
        told = ", ".join(offered)
        raise errors.bad_request(f"none of the WebSocket subprotocols is known: {told}")
    response, socket = await links.open_socket(call.request, [chosen] if chosen else [])
    pieces = _Pieces(socket, text=chosen == _BASE64)

    async def greet_and_pour() -> None:
        await pieces.write(b"")
        await pour(pieces)

    await _while_there(socket, greet_and_pour)
    await response.close(code=WSCloseCode.OK, drain=False)
    return response


async def events(call: Call, pour: Callable[[Outlet], Awaitable[None]]) -> web.StreamResponse:
    """The same with the events of a watch."""
    response, socket = await links.open_socket(call.request, [])
    await _while_there(socket, lambda: pour(_Lines(socket)))
    await response.close(code=WSCloseCode.OK, drain=False)
    return response


async def _while_there(socket: links.Socket, pour: Callable[[], Awaitable[None]]) -> None:
    """Until all is poured, or the client has left."""
    try:
        async with asyncio.TaskGroup() as together:
            listening = together.create_task(_listen(socket))
            await pour()
            listening.cancel()
    except* links.Gone:
        pass


async def _listen(socket: links.Socket) -> None:
    while await socket.read():
        pass
    raise links.Gone("the client has left")
