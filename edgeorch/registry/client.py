"""One registry over HTTP: token and basic authentication, manifests, blobs from any offset.

Source: OCI distribution-spec (pull), distribution's token specification. A client serves one pull
and is closed after it; its TLS context is made when the first connection needs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp

from edgeorch.lib import json
from edgeorch.registry import auth
from edgeorch.wire import oci

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ACCEPT = ", ".join(sorted(oci.MANIFESTS | oci.INDEXES)) + ", */*"
MANIFEST_LIMIT = 4 * 1024 * 1024
CHUNK = 256 * 1024
CONNECT_TIMEOUT = 30.0
STALL_TIMEOUT = 60.0
"""Seconds without a byte after which a transfer counts as broken."""
_LOOPBACK = re.compile(r"127(?:\.\d{1,3}){3}")
_HUB = "registry-1.docker.io"


class RegistryError(Exception):
    """The registry said no, or cannot be reached."""


class NotFound(RegistryError):
    """The registry has no such manifest or blob."""


class Unreachable(RegistryError):
    """Nobody answered: no link, no name, no listener, or silence."""


class Denied(RegistryError):
    """The registry wants other credentials."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where an image lives: `docker.io` and `library/nginx`."""

    domain: str
    path: str

    @property
    def base(self) -> str:
        """Plain HTTP on the machine itself, as containerd does; HTTPS everywhere else."""
        host = _HUB if self.domain == "docker.io" else self.domain
        name = host.rpartition(":")[0] or host
        local = name in ("localhost", "[::1]") or _LOOPBACK.fullmatch(name) is not None
        return f"{'http' if local else 'https'}://{host}/v2/{self.path}"


@dataclass(frozen=True, slots=True)
class Fetched:
    raw: bytes
    media_type: str
    digest: str
    """As the registry says, "" when it does not."""


class Client:
    def __init__(self, repository: Repository, credential: auth.Credential | None) -> None:
        self._repository = repository
        self._credential = credential
        self._authorization: str | None = None
        self._exit = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=STALL_TIMEOUT
        )
        tls: ssl.SSLContext | bool = True
        if self._repository.base.startswith("https:"):
            # The bundle of authorities is read now, in a thread, not when the process starts.
            tls = await asyncio.to_thread(ssl.create_default_context)
        connector = aiohttp.TCPConnector(limit=4, ssl=tls)
        session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers={"User-Agent": "edgeorch"},
            auto_decompress=False,
        )  # fmt: skip
        self._session = await self._exit.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def manifest(self, reference: str) -> Fetched:
        """By tag or digest. Raises RegistryError."""
        url = f"{self._repository.base}/manifests/{reference}"
        async with self._get(url, {"Accept": _ACCEPT}) as response:
            raw = await self._body(response, url)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            return Fetched(raw, media_type, response.headers.get("Docker-Content-Digest", ""))

    async def _body(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_chunked(CHUNK):
            size += len(part)
            if size > MANIFEST_LIMIT:
                raise RegistryError(f"manifest at {url} is larger than {MANIFEST_LIMIT} bytes")
            parts.append(part)
        return b"".join(parts)

    async def blob(self, digest: str, offset: int) -> AsyncIterator[bytes]:
        """The blob from `offset` on. Raises RegistryError, also in the middle of it."""
        url = f"{self._repository.base}/blobs/{digest}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._get(url, headers) as response:
            # A registry without ranges sends the whole blob again.
            skip = offset if offset and response.status == 200 else 0
            async for part in response.content.iter_chunked(CHUNK):
                if skip:
                    part, skip = part[skip:], max(0, skip - len(part))
                if part:
                    yield part

    @contextlib.asynccontextmanager
    async def _get(
        self, url: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that succeeded, authenticated as the registry asks for it."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                response = await self._request(stack, url, headers)
                if response.status == 401:
                    await self._authenticate(response, url)
                    response = await self._request(stack, url, headers)
                await self._refuse(response, url)
                yield response
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                told = str(error) or type(error).__name__
                raise Unreachable(f'failed to do request: Get "{url}": {told}') from error

    async def _request(
        self, stack: contextlib.AsyncExitStack, url: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RegistryError("the client is closed")
        sent = dict(headers)
        if self._authorization:
            sent["Authorization"] = self._authorization
        # aiohttp drops the header when a redirect leads to another host (a blob store).
        return await stack.enter_async_context(self._session.get(url, headers=sent))

    async def _refuse(self, response: aiohttp.ClientResponse, url: str) -> None:
        if response.status in (200, 206):
            return
        if response.status == 404:
            raise NotFound("not found")
        if response.status in (401, 403):
            raise Denied(
                "pull access denied, repository does not exist or may require authorization: "
                f"server message: {await _message(response)}"
            )
        raise RegistryError(
            f"unexpected status from GET request to {url}: {response.status} "
            f"{response.reason}: {await _message(response)}"
        )

    async def _authenticate(self, response: aiohttp.ClientResponse, url: str) -> None:
        asked = auth.challenge(response.headers.get("WWW-Authenticate", ""))
        if asked is None:
            raise Denied(f"no usable challenge from {url}")
        if asked.scheme == "basic":
            if self._credential is None:
                raise Denied("no basic auth credentials")
            self._authorization = self._credential.basic()
            return
        self._authorization = f"Bearer {await self._token(asked.parameters)}"

    async def _token(self, asked: dict[str, str]) -> str:
        if self._session is None:
            raise RegistryError("the client is closed")
        realm = asked.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise Denied(f"the registry names no usable token service ({realm!r})")
        query = {
            "scope": asked.get("scope", f"repository:{self._repository.path}:pull"),
            **({"service": asked["service"]} if "service" in asked else {}),
        }
        headers = {"Authorization": self._credential.basic()} if self._credential else {}
        async with self._session.get(realm, params=query, headers=headers) as response:
            if response.status != 200:
                raise Denied(f"failed to fetch token: {response.status}")
            document = json.decode(await self._body(response, realm))
        token = document.get("token") or document.get("access_token")
        if not token:
            raise Denied("the token service gave no token")
        return str(token)


async def _message(response: aiohttp.ClientResponse) -> str:
    """What the registry says, shortened."""
    raw = await response.content.read(2048)
    try:
        first = json.decode(raw)["errors"][0]
        return f"{first['code']}: {first.get('message', '')}".rstrip(": ")
    except (json.DecodeError, KeyError, IndexError, TypeError):
        return raw.decode(errors="replace").strip()[:200] or str(response.reason)
