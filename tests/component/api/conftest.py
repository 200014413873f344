"""A whole API on loopback: a store on a real file, TLS, a token, real kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from edgeorch.api import auth, certs, flow, health, kubeconfig, server
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import errors, kinds, schema
from edgeorch.store import database, objects

Object = dict[str, Any]


@dataclass
class Logs:
    """Lines of a container that a test decides on."""

    lines: list[bytes] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    refuse: errors.StatusError | None = None
    ended: int = 0

    async def read(
        self, namespace: str, pod: str, uid: str, container: str, **options: Any
    ) -> AsyncIterator[bytes]:
        self.asked.append({"pod": f"{namespace}/{pod}", "container": container, **options})
        try:
            if self.refuse is not None:
                raise self.refuse
            for line in self.lines:
                yield line
            if options["follow"]:
                await self.more.wait()
                await asyncio.Event().wait()
        finally:
            self.ended += 1


@dataclass
class Device:
    directory: pathlib.Path
    store: objects.Objects
    server: server.Server
    logs: Logs
    token: str
    client: aiohttp.ClientSession
    failing: dict[str, str | None]
    authenticator: auth.Authenticator

    @property
    def url(self) -> str:
        host, port = self.server.network[0]
        return f"https://{host}:{port}"

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        media: str = "application/json",
        **headers: str,
    ) -> tuple[int, Any]:
        """Code and decoded JSON of a request of the administrator."""
        data = body if isinstance(body, bytes) else None
        async with self.client.request(
            method,
            self.url + path,
            data=data,
            json=body if data is None else None,
            headers={"Content-Type": media, **headers} if body is not None else headers,
        ) as response:
            return response.status, await response.json(content_type=None)

    async def kubectl(
        self, program: pathlib.Path, *arguments: str, stdin: str = "", fails: bool = False
    ) -> str:
        """What kubectl says: stdout, or stderr when it is expected to fail."""
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "KUBECONFIG": str(self.directory / "kubeconfig"),
                "HOME": str(self.directory),
            },
        )
        async with asyncio.timeout(60):
            out, complaint = await process.communicate(stdin.encode())
        assert (process.returncode != 0) is fails, (out, complaint)
        return (complaint if fails else out).decode()


@pytest.fixture
async def device(tmp_path: pathlib.Path) -> AsyncIterator[Device]:
    async with started(tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def started(
    directory: pathlib.Path, limits: flow.Limits | None = None, *, open_metrics: bool = False
) -> AsyncIterator[Device]:
    clock = clocks.SystemClock()
    db = database.Database(directory / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clock)
    await store.load()
    writer = asyncio.ensure_future(db.run())
    authority = certs.Authority(directory / "pki", clock)
    await authority.ensure(["device"])
    token = auth.ensure_admin_token(directory / "tokens.csv")
    logs = Logs()
    failing: dict[str, str | None] = {"containerd": None}
    authenticator = auth.Authenticator(auth.load_tokens(directory / "tokens.csv"), clock)
    api = server.Server(
        store,
        schema.load(),
        server.Listen(
            [("127.0.0.1", 0)],
            authority.context,
            directory / "api.sock",
            ("127.0.0.1", 0),
            open_metrics=open_metrics,
        ),
        clock=clock,
        authenticator=authenticator,
        logs=logs,
        version="0.0.1",
        checks=health.Checks(ready={"containerd": lambda: failing["containerd"]}),
        limits=limits,
    )
    await api.start()
    connector = aiohttp.TCPConnector(ssl=_trusting(authority.certificate))
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            device = Device(directory, store, api, logs, token, client, failing, authenticator)
            kubeconfig.write(directory / "kubeconfig", device.url, authority.certificate, token)
            if store.find("namespaces", "", "default") is None:
                meta = {"name": "default"}
                await store.create(
                    "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
                )
            yield device
    finally:
        await api.close()
        await tasks.cancel_and_wait(writer)
        await db.close()


def _trusting(authority: bytes) -> Any:
    import ssl

    return ssl.create_default_context(cadata=authority.decode())


def kubectls() -> Iterator[pathlib.Path]:
    """Every kubectl of this machine: on PATH, beside it, and the one that setup fetches."""
    found = shutil.which("kubectl")
    seen = {}
    if found:
        home = pathlib.Path(found).resolve().parent
        for program in sorted(home.glob("kubectl*")):
            if os.access(program, os.X_OK):
                seen[program.name] = program
    fetched = pathlib.Path(__file__).parents[3] / ".cache" / "bin" / "kubectl"
    if fetched.exists():
        seen["fetched"] = fetched
    wanted = {"kubectl.1.27", "kubectl.1.30", "kubectl.1.33", "fetched"} & seen.keys()
    yield from (seen[name] for name in sorted(wanted or seen.keys()))


PROGRAMS = list(kubectls())


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def kubectl(request: pytest.FixtureRequest) -> pathlib.Path:
    found: pathlib.Path = request.param
    return found


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    meta: Object = {"name": name}
    if labels:
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def pod(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], "nodeName": "here"},
    }


def deployment(name: str, replicas: int = 3) -> Object:
    labels = {"app": name}
    container = {"name": "main", "image": "nginx:1.25", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
