"""A real registry on loopback, images pushed into it, and a line to it that breaks on demand."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {root}/storage
http:
  addr: 127.0.0.1:{port}
{more}
log:
  level: error
"""
HTPASSWD = "auth:\n  htpasswd:\n    realm: test\n    path: {root}/htpasswd\n"
OCI = "application/vnd.oci.image"
MANIFEST = f"{OCI}.manifest.v1+json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    def __init__(
        self, root: Path, port: int, authorization: str = "", *, tls: bool = False
    ) -> None:
        self.root = root
        self.port = port
        self._scheme = "https" if tls else "http"
        self._authorization = authorization

    def push(self, name: str, tag: str, layers: list[bytes]) -> str:
        """The manifest's digest. Layers are plain tar bytes."""
        packed = [
            self.blob(name, gzip.compress(layer, 1, mtime=0), f"{OCI}.layer.v1.tar+gzip")
            for layer in layers
        ]
        return self.push_packed(name, tag, packed, layers)

    def push_packed(
        self,
        name: str,
        tag: str,
        packed: list[dict[str, Any]],
        layers: list[bytes],
        kind: str = MANIFEST,
        **platform: str,
    ) -> str:
        """`packed` are descriptors of layers whose plain tar bytes are `layers`."""
        config = {
            "architecture": "amd64",
            "os": "linux",
            **platform,
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        }
        raw = json.dumps(config).encode()
        own = "application/vnd.docker.container.image.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self.blob(name, raw, f"{OCI}.config.v1+json" if kind == MANIFEST else own),
            "layers": packed,
        }
        return self.put(name, tag, manifest)

    def put(self, name: str, tag: str, manifest: dict[str, Any]) -> str:
        body = json.dumps(manifest).encode()
        self._request("PUT", f"/v2/{name}/manifests/{tag}", body, manifest["mediaType"])
        return _digest(body)

    def get(self, name: str, digest: str) -> bytes:
        """A manifest as it is stored."""
        url = f"{self._scheme}://127.0.0.1:{self.port}/v2/{name}/manifests/{digest}"
        request = urllib.request.Request(url, headers={"Accept": MANIFEST})
        with urllib.request.urlopen(request) as response:
            found: bytes = response.read()
            return found

    def blob(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        place = self._request("POST", f"/v2/{name}/blobs/uploads/", b"", "")
        joint = "&" if "?" in place else "?"
        self._request(
            "PUT", f"{place}{joint}digest={_digest(data)}", data, "application/octet-stream"
        )
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    def _request(self, method: str, path: str, body: bytes, media_type: str) -> str:
        base = f"{self._scheme}://127.0.0.1:{self.port}"
        url = path if path.startswith("http") else f"{base}{path}"
        request = urllib.request.Request(url, data=body, method=method)
        if media_type:
            request.add_header("Content-Type", media_type)
        if self._authorization:
            request.add_header("Authorization", self._authorization)
        trusting = ssl._create_unverified_context()
        with urllib.request.urlopen(request, context=trusting) as response:
            return str(response.headers.get("Location", ""))


@contextlib.contextmanager
def running(
    root: Path, *, user: str = "", password: str = "", more: str = "", tls: bool = False
) -> Iterator[Registry]:
    """`docker-registry` on loopback, with basic authentication when a user is given. `more` goes
    into its configuration, the first lines below `http`."""
    port = free_port()
    auth, authorization = more, ""
    if user:
        import base64

        auth = HTPASSWD.format(root=root)
        (root / "htpasswd").write_text(f"{user}:{_bcrypt(password)}\n")
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    (root / "registry.yml").write_text(CONFIG.format(root=root, port=port, more=auth))
    program = shutil.which("docker-registry") or "docker-registry"
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (root / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(root / "registry.yml")], stdout=log, stderr=log, env=environment
        )
    try:
        _await_port(port, process)
        yield Registry(root, port, authorization, tls=tls)
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError("the registry does not answer")


def _bcrypt(password: str) -> str:
    script = "print crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu))"
    return subprocess.run(
        ["perl", "-e", script, password], check=True, capture_output=True, text=True
    ).stdout


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def noise_layer(name: str, size: int, seed: int) -> bytes:
    """A tar with one file that does not compress."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = size
        tar.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
    return out.getvalue()


class Line:
    """A TCP proxy that cuts connections after so many bytes, or damages one byte, as asked."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._closing = asyncio.Event()
        self.port = 0
        self.cuts: list[int] = []
        """After how many bytes from the registry each next long connection breaks."""
        self.stalls: list[int] = []
        """After how many bytes each next long connection falls silent, without an end."""
        self.damage_at = 0
        """Damages one byte of the first connection that gets so far; 0 never."""
        self.carried = 0
        """Bytes that came from the registry."""

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above_reader, above = await asyncio.open_connection("127.0.0.1", self._target)
        # What sits in the kernel has not crossed the line.
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        up = asyncio.ensure_future(self._up(reader, above))
        try:
            await self._down(above_reader, writer)
        finally:
            up.cancel()
            for stream in (above, writer):
                stream.transport.abort()
            await asyncio.gather(up, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, above: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            above.write(data)
            await above.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                seen += len(data)
                self.carried += len(data)
                if self.damage_at and seen > self.damage_at:
                    self.damage_at = 0
                    data = data[:-1] + bytes([data[-1] ^ 1])
                writer.write(data)
                await writer.drain()
                if self.stalls and seen > self.stalls[0]:
                    self.stalls.pop(0)
                    await self._closing.wait()
                if self.cuts and seen > self.cuts[0]:
                    self.cuts.pop(0)
                    return
