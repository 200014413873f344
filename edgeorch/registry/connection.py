"""One host that serves images, over HTTP: TLS, proxies, redirects, tokens, being told to wait.

A connection serves one pull and is closed after it; its TLS context is made when it is opened, in
a thread. What it was given as credentials goes to this host and its token service, nowhere else:
not to a blob store that a redirect leads to, not over plain HTTP when the host itself has TLS.

Sources: distribution's token specification (docs/spec/auth), RFC 9110 (Retry-After, redirects).
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, Self

import aiohttp
import yarl

from edgeorch.lib import backoff, json
from edgeorch.registry import auth, errors, proxies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from edgeorch.registry.hosts import Host

CONNECT_TIMEOUT = 15.0
STALL_TIMEOUT = 30.0
"""Seconds without a byte after which a transfer counts as broken."""
BUFFER = 128 * 1024
WINDOW = 512 * 1024
"""Bytes; three layers at 100 ms of round trip still come with 15 MB/s."""
DOCUMENT_LIMIT = 4 * 1024 * 1024
_REDIRECTS = 10
_TRIES = 4
"""How often a host that says it is busy is asked before it is believed."""
_PAUSE = backoff.Policy(initial=1.0, factor=2.0, cap=8.0)
_LONGEST_PAUSE = 60.0
"""Seconds; whoever wants us to wait longer is asked again by the back-off of the image."""
_MOVED = (301, 302, 303, 307, 308)
_BUSY = (429, 500, 502, 503, 504)
_CLIENT_ID = "edgeorch"


class Connection:
    def __init__(
        self,
        host: Host,
        path: str,
        credentials: Sequence[auth.Credential],
        stall_timeout: float = STALL_TIMEOUT,
    ) -> None:
        """For the repository `path`. Credentials are tried in turn; without any, none is."""
        self.host = host
        self._path = path
        self._credentials: list[auth.Credential | None] = [*credentials] or [None]
        self._authorization: str | None = None
        self._asking = asyncio.Lock()
        self._stall_timeout = stall_timeout
        self._exit = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls: ssl.SSLContext | bool = True
        if self.host.secure:
            # The bundle of authorities is read now, in a thread, not when the process starts.
            tls = await asyncio.to_thread(tls_context, self.host)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=_socket),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=CONNECT_TIMEOUT,  # names and all
                sock_read=self._stall_timeout,
            ),
            # A blob that a proxy compresses would not be the blob.
            headers={"User-Agent": _CLIENT_ID, "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=BUFFER,
        )
        self._session = await self._exit.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    @contextlib.asynccontextmanager
    async def open(
        self, method: str, url: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that succeeded. Raises RegistryError, also while it is read."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                yield await self._persist(stack, method, url, headers)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                told = told_of(error)
                verb = method.capitalize()
                raise errors.Unreachable(f'failed to do request: {verb} "{url}": {told}') from error

    def url(self, kind: str, reference: str) -> str:
        """Of a manifest or blob."""
        plain = f"{self.host.base}/{self._path}/{kind}/{reference}"
        return f"{plain}?ns={self.host.mirror_of}" if self.host.mirror_of else plain

    # --- asking until there is an answer --------------------------------------------------------

    async def _persist(
        self, stack: contextlib.AsyncExitStack, method: str, url: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        tries = 0
        while True:
            try:
                return await self._authorized(stack, method, url, headers)
            except errors.Busy as error:
                tries += 1
                pause = error.after or _PAUSE.delay(tries - 1)
                if tries >= (1 if self.host.mirror_of else _TRIES) or pause > _LONGEST_PAUSE:
                    raise
                await asyncio.sleep(pause)

    async def _authorized(
        self, stack: contextlib.AsyncExitStack, method: str, url: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        sent, fresh = self._authorization, False
        while True:
            response = await self._follow(stack, method, url, self._with(headers, sent))
            if response.status not in (401, 403):
                await _refuse(response, method, url)
                return response
            refused = errors.Denied(await _denial(response))
            response.release()
            if not self._is_own(response.url):
                raise refused  # a stranger's challenge is not answered
            async with self._asking:
                if self._authorization == sent:  # nobody else has asked anew meanwhile
                    if fresh:
                        self._next_credential(refused)
                    await self._authenticate(response, refused)
                    fresh = True
                sent = self._authorization

    def _is_own(self, place: yarl.URL) -> bool:
        return place.origin() == yarl.URL(self.host.base).origin()

    def _with(self, headers: dict[str, str], authorization: str | None) -> dict[str, str]:
        return {**headers, "Authorization": authorization} if authorization else headers

    def _next_credential(self, refused: errors.Denied) -> None:
        """Raises `refused` when all have been tried."""
        self._authorization = None
        del self._credentials[0]
        if not self._credentials:
            self._credentials = [None]
            raise refused

    async def _follow(
        self, stack: contextlib.AsyncExitStack, method: str, url: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """By hand, because each hop has its own proxy, and a stranger gets no credentials."""
        place, sent = yarl.URL(url), dict(headers)
        if not self._is_own(place):
            sent.pop("Authorization", None)
        for _ in range(_REDIRECTS):
            request = self._http().request(
                method, place, headers=sent, allow_redirects=False, proxy=_proxy(place)
            )
            response = await stack.enter_async_context(request)
            location = response.headers.get("Location")
            if response.status not in _MOVED or not location:
                return response
            response.release()
            there = place.join(yarl.URL(location, encoded=True))
            if there.scheme not in ("http", "https"):
                raise errors.RegistryError(f"{url} leads to {there}, which is not HTTP")
            if there.origin() != place.origin():
                sent.pop("Authorization", None)
            place = there
        raise errors.RegistryError(f"{url} leads through more than {_REDIRECTS} redirects")

    # --- who we are -----------------------------------------------------------------------------

    async def _authenticate(self, response: aiohttp.ClientResponse, refused: errors.Denied) -> None:
        asked = auth.challenge(", ".join(response.headers.getall("WWW-Authenticate", [])))
        while True:
            credential = self._credentials[0]
            try:
                self._authorization = await self._authorization_for(asked, credential, refused)
            except errors.Denied as error:
                self._next_credential(error)
            else:
                return

    async def _authorization_for(
        self,
        asked: auth.Challenge | None,
        credential: auth.Credential | None,
        refused: errors.Denied,
    ) -> str:
        if credential is not None and credential.registry_token:
            return f"Bearer {credential.registry_token}"
        if asked is None:
            raise refused
        if asked.scheme == "bearer":
            return f"Bearer {await self._token(asked.parameters, credential)}"
        if credential is None or not credential.username:
            raise errors.Denied("no basic auth credentials")
        return credential.basic()

    async def _token(self, asked: dict[str, str], credential: auth.Credential | None) -> str:
        realm = asked.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise errors.Denied(f"the registry names no usable token service ({realm!r})")
        if credential and self.host.secure and realm.startswith("http://"):
            raise errors.Denied(f"not sending credentials to {realm}, which has no TLS")
        wanted = {
            "scope": asked.get("scope", f"repository:{self._path}:pull"),
            **({"service": asked["service"]} if "service" in asked else {}),
        }
        if credential is not None and credential.identity_token:
            grant = {"grant_type": "refresh_token", "refresh_token": credential.identity_token}
            return await self._ask_token("POST", realm, {**wanted, **grant}, {})
        headers = {"Authorization": credential.basic()} if credential else {}
        try:
            return await self._ask_token("GET", realm, wanted, headers)
        except errors.NotFound:
            if credential is None:
                raise errors.Denied(f"there is no token service at {realm}") from None
        grant = {
            "grant_type": "password",
            "username": credential.username,
            "password": credential.password,
        }
        return await self._ask_token("POST", realm, {**wanted, **grant}, {})

    async def _ask_token(
        self, method: str, realm: str, fields: dict[str, str], headers: dict[str, str]
    ) -> str:
        """Raises NotFound where the service does not know the method, and Denied."""
        oauth = method == "POST"
        place = yarl.URL(realm)
        request = self._http().request(
            method,
            place if oauth else place.update_query(fields),
            data={**fields, "client_id": _CLIENT_ID} if oauth else None,
            headers=headers,
            proxy=_proxy(place),
        )
        async with request as response:
            if response.status in (404, 405) and not oauth:
                raise errors.NotFound("no such method")
            if response.status in _BUSY:
                await _refuse(response, method, realm)
            if response.status != 200:
                told = await _message(response)
                raise errors.Denied(
                    f"failed to authorize: failed to fetch token from {realm}: "
                    f"{response.status} {response.reason}: {told}"
                )
            try:
                document = json.decode(await whole(response, realm))
                token = document.get("token") or document.get("access_token")
            except (json.DecodeError, AttributeError):
                token = None
        if not token:
            raise errors.Denied(f"the token service {realm} gave no token")
        return str(token)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise errors.RegistryError("the connection is closed")
        return self._session


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """With a bounded window: what is in flight is lost when the power goes, and takes memory."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, WINDOW)
    return made


def tls_context(host: Host) -> ssl.SSLContext:
    """The public authorities and the configured one. Raises RegistryError."""
    context = ssl.create_default_context()
    if host.ca:
        try:
            context.load_verify_locations(host.ca)
        except (OSError, ssl.SSLError) as error:
            raise errors.RegistryError(
                f"cannot read the authority of registry {host.name} from {host.ca}: {error}"
            ) from error
    if not host.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def whole(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body of a document. Raises RegistryError when it is too large."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > DOCUMENT_LIMIT:
            raise errors.RegistryError(f"{url} is larger than {DOCUMENT_LIMIT} bytes")
        parts.append(part)
    return b"".join(parts)


def _proxy(place: yarl.URL) -> str | None:
    return proxies.choose(place.scheme, place.host or "", place.port, os.environ)


async def _refuse(response: aiohttp.ClientResponse, method: str, url: str) -> None:
    """Raises RegistryError unless the response is a success."""
    if response.status in (200, 206):
        return
    if response.status == 404:
        raise errors.NotFound("not found")
    told = (
        f"unexpected status from {method} request to {url}: {response.status} "
        f"{response.reason}: {await _message(response)}"
    )
    if response.status in _BUSY:
        raise errors.Busy(told, retry_after(response.headers.get("Retry-After", ""), time.time()))
    raise errors.RegistryError(told)


def retry_after(text: str, now: float) -> float:
    """Seconds; 0 when nothing usable is said. `now` is wall time, for the form that is a date."""
    text = text.strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


async def _denial(response: aiohttp.ClientResponse) -> str:
    return (
        "pull access denied, repository does not exist or may require authorization: "
        f"server message: {await _message(response)}"
    )


async def _message(response: aiohttp.ClientResponse) -> str:
    """What the registry says, shortened."""
    raw = await response.content.read(2048)
    try:
        first = json.decode(raw)["errors"][0]
        return f"{first['code']}: {first.get('message', '')}".rstrip(": ")
    except (json.DecodeError, KeyError, IndexError, TypeError):
        return raw.decode(errors="replace").strip()[:200] or str(response.reason)


def told_of(error: Exception) -> str:
    """What failed on the way, as other clients of registries word it."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            why = error.os_error.strerror or str(error.os_error)
            return f"dial tcp: lookup {error.host}: {why[:1].lower()}{why[1:]}"
        case aiohttp.ClientConnectorSSLError() | aiohttp.ClientConnectorCertificateError():
            return str(error)
        case aiohttp.ClientConnectorError() if error.os_error.errno:
            why = os.strerror(error.os_error.errno).lower()
            return f"dial tcp {error.host}:{error.port}: connect: {why}"
        case _:
            return str(error) or type(error).__name__
