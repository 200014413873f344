"""HTTP probes: the least HTTP/1.1 that a health endpoint needs, cheap enough for thousands.

One connection for each request, closed afterwards; of the body the first 10 KiB are read, so that
a server that hangs in the midst of its answer is not well. Redirects to the same host are followed,
others count as success with a warning, as in the kubelet (pkg/probe/http). TLS is not verified.
Errors are worded as Go's client words them.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse

from msgspec import Struct, structs

from edgeorch.model import release
from edgeorch.probes import tcp

_MAX_HEADER_BYTES = 32 * 1024
_MAX_BODY_BYTES = 10 * 1024
_MAX_REDIRECTS = 10
USER_AGENT = f"kube-probe/{release.MAJOR}.{release.MINOR}"
HOOK_USER_AGENT = f"kube-lifecycle/{release.MAJOR}.{release.MINOR}"

_contexts: list[ssl.SSLContext] = []


class Request(Struct, frozen=True):
    scheme: str
    """`http` or `https`."""
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    agent: str = USER_AGENT

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class Answer(Struct, frozen=True):
    status: int
    location: str
    body: bytes = b""


class HttpError(Exception):
    """No usable answer."""


class BodyError(Exception):
    """The answer broke off: the kubelet takes that neither for well nor for ill."""


async def probe(request: Request, limit: float) -> tuple[bool, str]:
    """Whether it succeeded, and what to say: why not, or what to warn of. Raises BodyError."""
    url = request.url
    try:
        async with asyncio.timeout(limit):
            for _ in range(_MAX_REDIRECTS):
                answer = await fetch(request)
                if answer.status not in (301, 302, 303, 307, 308) or not answer.location:
                    break
                following = _redirected(request, answer.location)
                if following is None:
                    break
                request = following
            else:
                return False, f'Get "{request.url}": stopped after {_MAX_REDIRECTS} redirects'
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return False, f'Get "{url}": {why}'
    except HttpError as error:
        return False, f'Get "{url}": {error}'
    if 300 <= answer.status < 400:
        body = answer.body.decode("utf-8", "replace")
        return True, f"Probe terminated redirects, Response body: {body}"
    if 200 <= answer.status < 300:
        return True, ""
    return False, f"HTTP probe failed with statuscode: {answer.status}"


async def fetch(request: Request) -> Answer:
    """Raises HttpError."""
    try:
        reader, writer = await asyncio.open_connection(
            request.host, request.port, ssl=_tls() if request.scheme == "https" else None,
            limit=_MAX_HEADER_BYTES,
        )  # fmt: skip
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            told = "http: server gave HTTP response to HTTPS client"
            raise HttpError(told) from error
        raise HttpError(f"tls: {error.reason or error}") from error
    except OSError as error:
        raise HttpError(tcp.dial_error(request.host, request.port, error)) from error
    try:
        writer.write(_render(request))
        return await _read(reader)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise HttpError("EOF" if isinstance(error, EOFError) else str(error)) from error
    except asyncio.LimitOverrunError as error:
        raise HttpError("net/http: server response headers exceeded their limit") from error
    finally:
        # Nothing is left in TIME_WAIT or half-open, however the server behaves.
        writer.transport.abort()


def _render(request: Request) -> bytes:
    headers = {"host": ("Host", _host_header(request)), "user-agent": ("User-Agent", request.agent)}
    headers["accept"] = ("Accept", "*/*")
    headers["connection"] = ("Connection", "close")
    for name, value in request.headers:
        headers[name.lower()] = (name, value)
    lines = [f"GET {request.path or '/'} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.values() if value]
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("latin-1", "replace")


def _host_header(request: Request) -> str:
    host = f"[{request.host}]" if ":" in request.host else request.host
    standard = {"http": 80, "https": 443}[request.scheme]
    return host if request.port == standard else f"{host}:{request.port}"


async def _read(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            raise HttpError(f'malformed HTTP response "{first[:80]}"')
        status = int(words[1])
        if status != 101 and 100 <= status < 200:
            continue
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        return Answer(status, headers.get("location", ""), await _body(reader, status, headers))


async def _body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> bytes:
    """Its beginning. Raises BodyError."""
    if status in (204, 304):
        return b""
    length = headers.get("content-length", "")
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _chunks(reader)
        if length.isdigit():
            return await reader.readexactly(min(int(length), _MAX_BODY_BYTES))
        found = bytearray()
        while len(found) < _MAX_BODY_BYTES and (piece := await reader.read(_MAX_BODY_BYTES)):
            found += piece
    except asyncio.IncompleteReadError as error:
        raise BodyError("unexpected EOF") from error
    except asyncio.CancelledError:
        raise
    except OSError as error:
        raise BodyError(str(error)) from error
    return bytes(found[:_MAX_BODY_BYTES])


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """RFC 9112 section 7.1, without extensions and trailers."""
    found = bytearray()
    while len(found) < _MAX_BODY_BYTES:
        line = await reader.readuntil(b"\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise BodyError("invalid byte in chunk length") from None
        if size == 0:
            break
        found += await reader.readexactly(min(size, _MAX_BODY_BYTES - len(found)))
        if len(found) < _MAX_BODY_BYTES:
            await reader.readexactly(2)
    return bytes(found)


def _redirected(request: Request, location: str) -> Request | None:
    """None when it leads to another host."""
    target = urllib.parse.urlsplit(urllib.parse.urljoin(request.url, location))
    if target.hostname != request.host or target.scheme not in ("http", "https"):
        return None
    port = target.port or {"http": 80, "https": 443}[target.scheme]
    path = target.path or "/"
    if target.query:
        path += f"?{target.query}"
    return structs.replace(request, scheme=target.scheme, port=port, path=path)


def _tls() -> ssl.SSLContext:
    """Made at the first https probe, then shared."""
    if not _contexts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _contexts.append(context)
    return _contexts[0]
