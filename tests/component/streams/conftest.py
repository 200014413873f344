"""An API on loopback in front of real containers: real kubectl, real containerd, no agent.

The agent's part is played by `Device.run`: it runs a container the way the agent does and stores a
pod with the status that the agent would write.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from edgeorch.agent import streams
from edgeorch.api import auth, certs, kubeconfig, ports, server
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import kinds, schema
from edgeorch.runtime import attach, execs, logs
from edgeorch.store import database, objects
from tests.component.api import conftest as api_conftest
from tests.component.runtime import conftest as runtime_conftest
from tests.component.runtime.conftest import (  # noqa: F401 - fixtures
    Runtime,
    busybox_archive,
    containerd,
    runtime,
)

Object = dict[str, Any]
_FETCHED = pathlib.Path(__file__).parents[3] / ".cache" / "bin"
PROGRAMS = [*api_conftest.PROGRAMS, *sorted(_FETCHED.glob("kubectl-*"))]
"""With kubectl 1.20 where setup has fetched it: it speaks SPDY only."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if "/component/streams/" in str(item.path) and "device" in used:
            item.add_marker(pytest.mark.system)


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def kubectl(request: pytest.FixtureRequest) -> pathlib.Path:
    found: pathlib.Path = request.param
    return found


_BOTH = [each for each in PROGRAMS if each.name in ("kubectl.1.27", "kubectl.1.33")]


@pytest.fixture(params=_BOTH or PROGRAMS, ids=lambda program: program.name)
def one_of_each(request: pytest.FixtureRequest) -> pathlib.Path:
    """For what takes long: one kubectl that speaks SPDY, one that speaks WebSocket."""
    found: pathlib.Path = request.param
    return found


@dataclass
class Done:
    code: int | None
    out: bytes
    err: str


@dataclass
class Device:
    directory: pathlib.Path
    runtime: Runtime
    store: objects.Objects
    server: server.Server
    output: logs.Logs
    client: aiohttp.ClientSession
    containers: dict[str, str] = field(default_factory=dict)
    children: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        host, port = self.server.network[0]
        return f"https://{host}:{port}"

    @property
    def env(self) -> dict[str, str]:
        own = {"KUBECONFIG": str(self.directory / "kubeconfig"), "HOME": str(self.directory)}
        return {**os.environ, **own}

    async def run(self, name: str, *args: str, **main: object) -> int:
        """A pod whose container `main` runs `args`; its pid."""
        tty, stdin = bool(main.get("tty")), bool(main.get("stdin"))
        # runc knows containers of all containerds by the same names.
        id_ = f"{name}-{os.urandom(4).hex()}"
        await self.runtime.create(id_, *args, terminal=tty)
        path = self.directory / "logs" / f"{name}.log"
        io = await self.output.attach(id_, path, terminal=tty, stdin=stdin)
        self.containers[name] = id_
        pid = await self.runtime.containers.start(id_, io)
        await self.store_pod(name, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, id_, **main)
        return pid

    async def store_pod(self, name: str, state: Object, id_: str = "", **main: object) -> Object:
        pod = api_conftest.pod(name)
        pod["spec"]["containers"][0] |= main
        stored = await self.store.create(
            "pods", {**pod, "metadata": {**pod["metadata"], "namespace": "default"}}
        )
        running = "running" in state
        status = {
            "name": "main",
            "state": state,
            "ready": running,
            "started": running,
            "restartCount": 0,
            "image": "busybox",
            "imageID": "",
            "containerID": f"containerd://{id_}" if id_ else "",
        }

        def known(found: Object) -> Object:
            phase = "Running" if running else "Pending"
            conditions = [{"type": "Ready", "status": "True"}]
            told = {"phase": phase, "containerStatuses": [status], "conditions": conditions}
            return {**found, "status": told}

        await self.store.update_status("pods", "default", name, known)
        return stored.decode()

    async def serve(self, name: str, script: str, *arguments: str) -> None:
        """Run a Python script in the network of a running pod, until it says that it listens."""
        task = await self.runtime.containers.task(self.containers[name])
        assert task is not None
        pid = task.pid
        self.pin(name, pid)
        made = await self.start(
            "nsenter",
            f"--net=/proc/{pid}/ns/net",
            sys.executable,
            "-c",
            script,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        assert made.stdout is not None
        async with asyncio.timeout(10):
            assert await made.stdout.readline() == b"listening\n"

    def pin(self, name: str, pid: int) -> None:
        """Where the dialer looks for the pod's network."""
        uid = self.store.get("pods", "default", name).decode()["metadata"]["uid"]
        folder = self.directory / "netns"
        folder.mkdir(exist_ok=True)
        (folder / uid).symlink_to(f"/proc/{pid}/ns/net")

    async def start(
        self, program: pathlib.Path | str, *arguments: str, **streams: Any
    ) -> asyncio.subprocess.Process:
        made = await asyncio.create_subprocess_exec(program, *arguments, env=self.env, **streams)
        self.children.append(made)
        return made

    async def kubectl(
        self, program: pathlib.Path, *arguments: str, stdin: bytes | None = None
    ) -> Done:
        pipe = asyncio.subprocess.PIPE
        process = await self.start(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else pipe,
            stdout=pipe,
            stderr=pipe,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
        return Done(process.returncode, out, err.decode())


@pytest.fixture
async def device(runtime: Runtime, tmp_path: pathlib.Path) -> AsyncIterator[Device]:  # noqa: F811
    clock = clocks.SystemClock()
    db = database.Database(tmp_path / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clock)
    await store.load()
    writer = asyncio.ensure_future(db.run())
    authority = certs.Authority(tmp_path / "pki", clock)
    await authority.ensure(["device"])
    token = auth.ensure_admin_token(tmp_path / "tokens.csv")
    commands = execs.Execs(runtime.client, runtime.containers, runtime.stdio)
    output = logs.Logs(runtime.stdio)
    api = server.Server(
        store,
        schema.load(),
        server.Listen([("127.0.0.1", 0)], authority.context, tmp_path / "api.sock"),
        clock=clock,
        authenticator=auth.Authenticator(auth.load_tokens(tmp_path / "tokens.csv"), clock),
        logs=api_conftest.Logs(),
        version="0.0.1",
        streams=ports.Streams(
            streams.PodExecs(commands),
            streams.PodAttachments(attach.Attachments(runtime.client, output)),
            streams.PodDialer(tmp_path / "netns"),
        ),
    )
    await api.start()
    connector = aiohttp.TCPConnector(ssl=api_conftest._trusting(authority.certificate))
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            made = Device(tmp_path, runtime, store, api, output, client)
            kubeconfig.write(tmp_path / "kubeconfig", made.url, authority.certificate, token)
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
            await store.create("namespaces", namespace)
            yield made
            for child in made.children:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
            for name in made.containers.values():
                await runtime.containers.delete(name, force=True)
                await output.finish(name)
    finally:
        await api.close()
        await commands.close()
        await output.close()
        await tasks.cancel_and_wait(writer)
        await db.close()


__all__ = ["Device", "Done", "runtime_conftest"]
