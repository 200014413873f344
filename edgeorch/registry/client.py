"""A registry as the distribution protocol has it: manifests, and blobs from any offset.

Behind it stand the hosts that serve the registry (hosts.py). Each question goes to the first of
them that has an answer; the one that had it is asked first from then on.

Source: OCI distribution-spec (pull).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Self, TypeVar

import aiohttp
import yarl
from msgspec import Struct

from edgeorch.registry import connection, errors
from edgeorch.wire import oci

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")

_ACCEPT = ", ".join([*sorted(oci.MANIFESTS | oci.INDEXES), "*/*"])
_RANGE = re.compile(r"bytes (\d+)-")


class Fetched(Struct, frozen=True):
    raw: bytes
    media_type: str


class Head(Struct, frozen=True):
    """What a tag points at, without having fetched it. "" and 0 where the registry is silent."""

    digest: str
    media_type: str
    size: int


class Client:
    def __init__(self, connections: Sequence[connection.Connection]) -> None:
        self._connections = list(connections)
        self._exit = contextlib.AsyncExitStack()
        self._open: set[connection.Connection] = set()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def head(self, reference: str) -> Head:
        """What a tag points at. Raises RegistryError."""

        async def ask(asked: connection.Connection) -> Head:
            url = asked.url("manifests", reference)
            async with asked.open("HEAD", url, {"Accept": _ACCEPT}) as response:
                length = response.headers.get("Content-Length", "0")
                return Head(
                    response.headers.get("Docker-Content-Digest", ""),
                    _media_type(response),
                    int(length) if length.isdecimal() else 0,
                )

        return await self._first(ask)

    async def manifest(self, reference: str) -> Fetched:
        """By tag or digest. Raises RegistryError."""

        async def ask(asked: connection.Connection) -> Fetched:
            url = asked.url("manifests", reference)
            async with asked.open("GET", url, {"Accept": _ACCEPT}) as response:
                return Fetched(await connection.whole(response, url), _media_type(response))

        return await self._first(ask)

    async def blob(
        self, digest: str, offset: int, urls: Sequence[str] = ()
    ) -> AsyncIterator[bytes]:
        """The blob from `offset` on; `urls` is where else it may be, for layers that no registry
        may pass on. Raises RegistryError, also in the middle of it."""
        async with contextlib.AsyncExitStack() as stack:
            response = await self._open_blob(stack, digest, offset, urls)
            async for part in _from(response, offset):
                yield part

    async def _open_blob(
        self, stack: contextlib.AsyncExitStack, digest: str, offset: int, urls: Sequence[str]
    ) -> aiohttp.ClientResponse:
        headers = {"Range": f"bytes={offset}-"} if offset else {}

        async def ask(asked: connection.Connection) -> aiohttp.ClientResponse:
            url = asked.url("blobs", digest)
            return await stack.enter_async_context(asked.open("GET", url, headers))

        try:
            return await self._first(ask)
        except errors.NotFound:
            for url in urls:
                if yarl.URL(url).scheme in ("http", "https"):
                    asked = await self._opened(self._connections[-1])
                    return await stack.enter_async_context(asked.open("GET", url, headers))
            raise

    async def _first(self, ask: Callable[[connection.Connection], Awaitable[T]]) -> T:
        failures: list[errors.RegistryError] = []
        for asked in list(self._connections):
            try:
                found = await ask(await self._opened(asked))
            except errors.RegistryError as error:
                failures.append(error)
                if isinstance(error, errors.Unreachable | errors.Busy):
                    self._move(asked, len(self._connections))
                if len(self._connections) > 1:
                    log.info("%s cannot serve this: %s", asked.host.name, error)
            else:
                self._move(asked, 0)
                return found
        raise _together(failures)

    def _move(self, asked: connection.Connection, place: int) -> None:
        self._connections.remove(asked)
        self._connections.insert(place, asked)

    async def _opened(self, asked: connection.Connection) -> connection.Connection:
        async with self._opening:
            if asked not in self._open:
                await self._exit.enter_async_context(asked)
                self._open.add(asked)
        return asked


def _together(failures: list[errors.RegistryError]) -> errors.RegistryError:
    """One error for those of all hosts: of the kind that says most about the image."""
    for kind in (errors.Denied, errors.Busy):
        for error in failures:
            if isinstance(error, kind):
                return error
    unreachable = [error for error in failures if isinstance(error, errors.Unreachable)]
    if unreachable:
        # A mirror that lacks the image says nothing against a registry that does not answer.
        return unreachable[-1]
    return failures[-1]


async def _from(response: aiohttp.ClientResponse, offset: int) -> AsyncIterator[bytes]:
    """The body from `offset` on, also where the registry has no ranges and sends all again."""
    skip = 0
    if offset and response.status == 200:
        skip = offset
    elif offset:
        said = _RANGE.match(response.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != offset:
            raise errors.RegistryError(f"asked for bytes from {offset}, got another range")
    async for part in _pieces(response.content):
        if skip:
            part, skip = part[skip:], max(0, skip - len(part))
        if part:
            yield part


async def _pieces(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """All that arrives, also what had arrived when the connection broke."""
    try:
        async for part in content.iter_any():
            yield part
    except (aiohttp.ClientError, OSError):
        # aiohttp keeps it from readers. On a bad link it would be a good part of all that comes.
        left = b"".join(getattr(content, "_buffer", ()))
        if left:
            yield left
        raise


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()
