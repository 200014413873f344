"""HTTP probes against servers that answer in every way, worded as the kubelet words it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import ssl
import subprocess
from collections.abc import AsyncIterator

import pytest

from edgeorch.model import release
from edgeorch.probes import http

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


class Site:
    """Answers each path with bytes; keeps what it was asked."""

    def __init__(self, pages: dict[str, bytes], *, hangs: bool = False) -> None:
        self.pages = pages
        self.hangs = hangs
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            writer.write(self.pages[head.split(" ")[1]])
            await writer.drain()
            if self.hangs:
                await reader.read()
        writer.close()


class Blunt(Site):
    """Refuses whatever it does not understand at its first byte."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(page("400 Bad Request"))
        writer.close()


@contextlib.asynccontextmanager
async def running(site: Site, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(site: Site, path: str = "/", limit: float = 5, **more: str) -> tuple[bool, str]:
    async with running(site) as port:
        return await http.probe(http.Request("http", "127.0.0.1", port, path, **more), limit)  # type: ignore[arg-type]


def page(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        pytest.param({"/": OK}, (True, ""), id="well"),
        pytest.param({"/": page("500 Oh")}, (False, "HTTP probe failed with statuscode: 500"),
                     id="server error"),
        pytest.param({"/": page("302 F", "Location: /b"), "/b": OK}, (True, ""), id="same host"),
        pytest.param({"/": page("301 F", "Location: /b"), "/b": page("404 No")},
                     (False, "HTTP probe failed with statuscode: 404"), id="same host, ill"),
        pytest.param({"/": page("302 F", "Location: http://other.test/", body="gone")},
                     (True, "Probe terminated redirects, Response body: gone"), id="other host"),
        pytest.param({"/": page("304 Not Modified")},
                     (True, "Probe terminated redirects, Response body: "), id="no redirect"),
        pytest.param({"/": CHUNKED},
                     (True, ""), id="chunked"),
        pytest.param({"/": b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000}, (True, ""), id="long"),
    ],
)  # fmt: skip
async def test_answers(pages: dict[str, bytes], expected: tuple[bool, str]) -> None:
    assert await asked(Site(pages)) == expected


async def test_a_circle_of_redirects_ends() -> None:
    site = Site({"/": page("302 F", "Location: /")})
    well, told = await asked(site)

    assert not well
    assert told.endswith("stopped after 10 redirects")
    assert len(site.asked) == 10


async def test_what_is_sent() -> None:
    site = Site({"/a?b=1": OK})
    headers = (("Host", "web.test"), ("user-agent", "mine"), ("X-Ray", "1"))
    await asked(site, "/a?b=1", headers=headers)  # type: ignore[arg-type]
    assert sorted(site.asked[0].rstrip().split("\r\n")) == [
        "Accept: */*", "Connection: close", "GET /a?b=1 HTTP/1.1", "Host: web.test", "X-Ray: 1",
        "user-agent: mine",
    ]  # fmt: skip
    site = Site({"/": OK})
    await asked(site)
    assert f"User-Agent: kube-probe/{release.MAJOR}.{release.MINOR}" in site.asked[0]


async def test_a_server_that_stops_in_the_midst_of_its_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"
    with pytest.raises(http.BodyError, match="unexpected EOF"):
        await asked(Site({"/": half}))
    well, told = await asked(Site({"/": half}, hangs=True), limit=0.2)

    assert not well
    assert "context deadline exceeded" in told


async def test_tls_is_not_verified_and_its_absence_is_told(tmp_path: pathlib.Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
        f" -subj /CN=nobody -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with running(Site({"/": OK}), context) as port:
        assert await http.probe(http.Request("https", "127.0.0.1", port, "/"), 5) == (True, "")
    async with running(Blunt({})) as port:
        found = await http.probe(http.Request("https", "127.0.0.1", port, "/"), 5)
    told = "http: server gave HTTP response to HTTPS client"
    assert found == (False, f'Get "https://127.0.0.1:{port}/": {told}')


async def test_a_port_that_nobody_serves() -> None:
    async with running(Site({})) as port:
        pass
    found = await http.probe(http.Request("http", "127.0.0.1", port, "/x"), 5)

    why = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert found == (False, f'Get "http://127.0.0.1:{port}/x": {why}')
