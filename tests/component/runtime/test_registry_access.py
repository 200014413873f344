"""How registries are reached: tokens, authorities, mirrors, redirects, being told to wait."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edgeorch.config import RegistryConfig
from edgeorch.registry import auth, hosts, pull
from edgeorch.runtime import pulling
from edgeorch.wire import oci
from tests.component.runtime import archives, registries
from tests.component.runtime.conftest import Runtime

PATH = "team/app"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Registry]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        found.push(PATH, "1.0", [archives.layer({"etc/of": b"the registry"})])
        yield found


def _puller(runtime: Runtime) -> pull.Puller:
    limits = pull.Limits(stall_timeout=5)
    return pull.Puller(pulling.PullSinks(runtime.client), oci.host_platform("x86_64"), limits)


def _source(
    domain: str,
    credentials: list[auth.Credential] | None = None,
    settings: Mapping[str, RegistryConfig] | None = None,
) -> pull.Source:
    return pull.Source(
        f"{domain}/{PATH}:1.0",
        PATH,
        "1.0",
        hosts.serving(domain, settings or {}),
        lambda host: [] if host.mirror_of else credentials or [],
    )


@contextlib.asynccontextmanager
async def _serving(handler: Callable[[web.Request], Any]) -> AsyncIterator[int]:
    """A web server on loopback; its port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    port = registries.free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


class Front:
    """Stands before a registry and answers some requests its own way."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.seen: list[web.Request] = []
        self.first: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
        self.drop_headers: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        own = self.first(request)
        if own is not None:
            return own
        kept = ("accept", "range")
        headers = {k: v for k, v in request.headers.items() if k.lower() in kept}
        headers = {k: v for k, v in headers.items() if k.lower() not in self.drop_headers}
        url = f"http://127.0.0.1:{self._target}{request.path_qs}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, headers=headers) as answer,
        ):
            body = await answer.read()
            passed = ("content-type", "docker-content-digest", "content-range")
            shown = {k: v for k, v in answer.headers.items() if k.lower() in passed}
            return web.Response(status=answer.status, body=body, headers=shown)


# --- tokens -----------------------------------------------------------------------------------


class TokenService:
    """Gives tokens as distribution's specification has it, signed with a key of its own."""

    def __init__(self, root: Path) -> None:
        self._key = root / "token.key"
        self.certificate = root / "token.crt"
        _certificate(self._key, self.certificate, "tokens")
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        posted = request.method == "POST"
        given = await request.post() if posted else request.query
        fields = {name: str(value) for name, value in given.items()}
        self.asked.append(f"{request.method} {fields.get('grant_type', '')}".strip())
        if posted:
            good = fields.get("refresh_token") == "refresh" and fields["client_id"] == "edgeorch"
        else:
            good = request.headers.get("Authorization") == auth.Credential("me", "secret").basic()
        if not good:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        kind, name, actions = fields["scope"].split(":")
        assert (kind, actions) == ("repository", "pull")
        return web.json_response({"token": self._token(name, fields["service"])})

    def _token(self, name: str, service: str) -> str:
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self.certificate), "-outform", "DER"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        chain = base64.b64encode(der).decode()
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": "me",
            "aud": service,
            "exp": now + 300,
            "nbf": now - 300,
            "iat": now,
            "jti": "1",
            "access": [{"type": "repository", "name": name, "actions": ["pull"]}],
        }
        head = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=signed, check=True, capture_output=True).stdout
        return (signed + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _certificate(key: Path, certificate: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)


async def test_a_registry_that_wants_tokens(
    runtime: Runtime, registry: registries.Registry, tmp_path: Path
) -> None:
    service = TokenService(tmp_path)
    async with _serving(service.handle) as port:
        # The same storage as the open registry, which the images are pushed to.
        more = (
            "auth:\n  token:\n"
            f"    realm: http://127.0.0.1:{port}/token\n    service: test\n    issuer: tests\n"
            f"    rootcertbundle: {service.certificate}\n"
        )
        (tmp_path / "storage").symlink_to(registry.root / "storage")
        with registries.running(tmp_path, more=more) as closed:
            domain = f"127.0.0.1:{closed.port}"
            for credentials in ([], [auth.Credential("me", "guess")]):
                with pytest.raises(pull.PullError, match="failed to fetch token"):
                    await _puller(runtime).pull(_source(domain, credentials))
            service.asked.clear()
            both = [auth.Credential("me", "guess"), auth.Credential("me", "secret")]
            await _puller(runtime).pull(_source(domain, both))
            assert service.asked == ["GET", "GET"]

            service.asked.clear()
            await runtime.images.remove(f"{domain}/{PATH}:1.0", sync=True)
            token = [auth.Credential(identity_token="refresh")]
            await _puller(runtime).pull(_source(domain, token))
            assert service.asked == ["POST refresh_token"]


# --- authorities ------------------------------------------------------------------------------


async def test_a_registry_with_an_authority_of_its_own(
    runtime: Runtime, registry: registries.Registry, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    _certificate(key, certificate, "registry")
    more = f"  tls:\n    certificate: {certificate}\n    key: {key}\n"
    (tmp_path / "storage").symlink_to(registry.root / "storage")
    with registries.running(tmp_path, more=more, tls=True) as private:
        # By a mirror's URL, since the machine itself is spoken to without TLS.
        mirror = f"127.0.0.1:{private.port}"
        domain = "registry.invalid"
        mirrors = RegistryConfig(mirrors=[f"https://{mirror}"])
        strange = {domain: mirrors}
        with pytest.raises(pull.Unreachable):
            await _puller(runtime).pull(_source(domain, settings=strange))
        for trust in (
            RegistryConfig(ca=str(certificate)),
            RegistryConfig(insecure_skip_verify=True),
        ):
            await _puller(runtime).pull(_source(domain, settings={**strange, mirror: trust}))
            await runtime.images.remove(f"{domain}/{PATH}:1.0", sync=True)
        missing = {**strange, mirror: RegistryConfig(ca="/nowhere/ca.pem")}
        with pytest.raises(pull.PullError):
            await _puller(runtime).pull(_source(domain, settings=missing))


# --- mirrors, redirects, patience -------------------------------------------------------------


async def test_mirrors_are_asked_in_order_and_told_whose_image_is_meant(
    runtime: Runtime, registry: registries.Registry
) -> None:
    front, lacking = Front(registry.port), Front(registry.port)
    lacking.first = lambda _: web.Response(status=404)
    async with _serving(front.handle) as good, _serving(lacking.handle) as bad:
        domain = "registry.invalid"
        dead = registries.free_port()
        mirrors = [f"127.0.0.1:{dead}", f"127.0.0.1:{bad}", f"http://127.0.0.1:{good}"]
        settings = {domain: RegistryConfig(mirrors=mirrors)}
        source = _source(domain, [auth.Credential("me", "secret")], settings)
        await _puller(runtime).pull(source)
        assert len(lacking.seen) == 1
        assert {request.query["ns"] for request in front.seen} == {domain}
        assert not [r for r in front.seen if "Authorization" in r.headers]
        # Also by its digest, which needs nobody to be asked.
        asked = len(front.seen)
        await _puller(runtime).pull(source)
        assert [request.method for request in front.seen[asked:]] == ["HEAD"]
        await runtime.images.remove(source.name, sync=True)


async def test_a_redirect_takes_no_credentials_along_and_waiting_is_done(
    runtime: Runtime, registry: registries.Registry
) -> None:
    registry.push(PATH, "1.0", [archives.layer({"etc/redirected": b"of its own"})])
    front, blobs = Front(registry.port), Front(registry.port)
    me = auth.Credential("me", "secret")
    busy = [web.Response(status=429, headers={"Retry-After": "1"}), web.Response(status=503)]
    async with _serving(front.handle) as port, _serving(blobs.handle) as elsewhere:

        def first(request: web.Request) -> web.StreamResponse | None:
            if request.headers.get("Authorization") != me.basic():
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            if busy:
                return busy.pop(0)
            if "/blobs/" in request.path:
                there = f"http://127.0.0.1:{elsewhere}{request.path}?signature=a%2Fb"
                return web.Response(status=307, headers={"Location": there})
            return None

        front.first = first
        before = time.monotonic()
        source = _source(f"127.0.0.1:{port}", [me])
        await _puller(runtime).pull(source)
        assert time.monotonic() - before > 1
        assert busy == []
        assert blobs.seen
        assert all(request.query["signature"] == "a/b" for request in blobs.seen)
        assert not [r for r in blobs.seen if "Authorization" in r.headers]

        # A stranger who asks for credentials gets none.
        blobs.first = lambda _: web.Response(
            status=401, headers={"WWW-Authenticate": 'Basic realm="give"'}
        )
        await runtime.images.remove(source.name, sync=True)
        with pytest.raises(pull.PullError, match="pull access denied"):
            await _puller(runtime).pull(source)
        assert not [r for r in blobs.seen if "Authorization" in r.headers]


async def test_a_registry_without_ranges_sends_all_again(
    runtime: Runtime, registry: registries.Registry
) -> None:
    registry.push(PATH, "1.0", [registries.noise_layer("ranges", 3 << 20, 77)])
    front = Front(registry.port)
    front.drop_headers = {"range"}
    async with _serving(front.handle) as port, registries.Line(port) as line:
        line.cuts = [1 << 20]
        source = _source(f"127.0.0.1:{line.port}")
        await _puller(runtime).pull(source)
        assert line.cuts == []
        assert any("Range" in request.headers for request in front.seen)
        assert (await runtime.images.config(source.name)).diff_ids


# --- kinds of images --------------------------------------------------------------------------


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, check=True, capture_output=True).stdout


DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ROOTFS = "application/vnd.docker.image.rootfs"


async def test_layers_of_every_kind(runtime: Runtime, registry: registries.Registry) -> None:
    def files(mark: str) -> bytes:
        return archives.layer({f"etc/{mark}": mark.encode()})

    cases: list[tuple[str, str, Callable[[bytes], bytes]]] = [
        (registries.MANIFEST, f"{registries.OCI}.layer.v1.tar+zstd", _zstd),
        (registries.MANIFEST, f"{registries.OCI}.layer.v1.tar", bytes),
        (
            registries.MANIFEST,
            f"{registries.OCI}.layer.nondistributable.v1.tar+gzip",
            gzip.compress,
        ),
        (DOCKER, f"{ROOTFS}.diff.tar.gzip", gzip.compress),
        (DOCKER, f"{ROOTFS}.diff.tar.zstd", _zstd),
        (DOCKER, f"{ROOTFS}.diff.tar", bytes),
    ]
    for number, (manifest, kind, pack) in enumerate(cases):
        plain = files(f"of-kind-{number}")
        packed = [registry.blob(PATH, pack(plain), kind)]
        registry.push_packed(PATH, "1.0", packed, [plain], manifest)
        source = _source(f"127.0.0.1:{registry.port}")
        await _puller(runtime).pull(source)
        found = await runtime.images.config(source.name)
        assert found.diff_ids == [archives.sha256(plain)], kind


async def test_a_layer_that_is_elsewhere(runtime: Runtime, registry: registries.Registry) -> None:
    plain = archives.layer({"etc/elsewhere": b"not in the registry"})

    async def give(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=plain)

    async with _serving(give) as port:
        packed = {
            "mediaType": f"{ROOTFS}.foreign.diff.tar",
            "digest": archives.sha256(plain),
            "size": len(plain),
            "urls": [f"http://127.0.0.1:{port}/layer"],
        }
        front = Front(registry.port)
        # The registry itself takes no image whose layers it cannot see.
        config = {
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [archives.sha256(plain)]},
        }  # fmt: skip
        described = registry.blob(
            PATH, json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"
        )
        body = json.dumps(
            {"schemaVersion": 2, "mediaType": DOCKER, "config": described, "layers": [packed]}
        ).encode()
        front.first = lambda request: (
            web.Response(body=body, headers={"Content-Type": DOCKER})
            if "/manifests/" in request.path
            else None
        )
        async with _serving(front.handle) as front_port:
            source = _source(f"127.0.0.1:{front_port}")
            await _puller(runtime).pull(source)
            assert (await runtime.images.config(source.name)).diff_ids == [archives.sha256(plain)]


async def test_an_index_is_read_past_what_is_no_image_of_this_machine(
    runtime: Runtime, registry: registries.Registry
) -> None:
    def variant(mark: str, **platform: str) -> dict[str, Any]:
        plain = archives.layer({"etc/variant": mark.encode()})
        kind = f"{registries.OCI}.layer.v1.tar"
        packed = [registry.blob(PATH, plain, kind)]
        digest = registry.push_packed(PATH, mark, packed, [plain], **platform)
        size = len(registry.get(PATH, digest))
        here = {"os": "linux", "architecture": "amd64", **platform}
        return {"mediaType": registries.MANIFEST, "digest": digest, "size": size, "platform": here}

    attestation = {
        **variant("attestation"),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    entries = [attestation, variant("six", architecture="arm", variant="v6"), variant("pc")]
    index = {
        "schemaVersion": 2,
        "mediaType": f"{registries.OCI}.index.v1+json",
        "manifests": entries,
    }
    registry.put(PATH, "1.0", index)
    source = _source(f"127.0.0.1:{registry.port}")
    for machine, mark in (("x86_64", "pc"), ("armv7l", "six")):
        sinks = pulling.PullSinks(runtime.client)
        await pull.Puller(sinks, oci.host_platform(machine)).pull(source)
        chain = (await runtime.images.config(source.name)).diff_ids
        if machine == "x86_64":
            assert chain == [archives.sha256(archives.layer({"etc/variant": mark.encode()}))]
    await runtime.images.remove(source.name, sync=True)
    with pytest.raises(pull.PullError, match="no match for platform linux/s390x in manifest"):
        await pull.Puller(pulling.PullSinks(runtime.client), oci.host_platform("s390x")).pull(
            source
        )


async def test_what_cannot_run_is_refused_with_the_reason(
    runtime: Runtime, registry: registries.Registry
) -> None:
    front = Front(registry.port)
    old = b'{"schemaVersion": 1, "name": "team/app", "tag": "1.0", "fsLayers": []}'
    chart = registry.blob(PATH, b"{}", "application/vnd.cncf.helm.config.v1+json")
    helm = json.dumps(
        {"schemaVersion": 2, "mediaType": registries.MANIFEST, "config": chart, "layers": []}
    ).encode()
    async with _serving(front.handle) as port:
        source = _source(f"127.0.0.1:{port}")
        for body, told in ((old, "schema 1 is not supported"), (helm, "artifact of another kind")):
            front.first = lambda _, body=body: web.Response(  # type: ignore[misc]
                body=body, headers={"Content-Type": "application/json"}
            )
            with pytest.raises(pull.PullError, match=told):
                await _puller(runtime).pull(source)
