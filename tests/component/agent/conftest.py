"""A node agent on real ground: containerd, runc, network namespaces, the store on disk.

containerd is shared by the tests of the package; everything else is each test's own, in a network
namespace of its own with no way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from edgeorch.agent import agent, linux, machine
from edgeorch.agent.settings import Settings
from edgeorch.lib import clock as clocks
from edgeorch.lib import conditions, tasks
from edgeorch.model import kinds
from edgeorch.model.kinds import Object
from edgeorch.net import network
from edgeorch.runtime import archive, client, containers, images
from edgeorch.store import database, objects, recorder
from tests.component.net import conftest as nets
from tests.component.runtime import archives, daemon

device = nets.device

IMAGE = "docker.io/library/busybox:latest"
PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/component/agent/" in str(item.path) and "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def agent_containerd() -> Iterator[daemon.Containerd]:
    root = pathlib.Path(tempfile.mkdtemp(prefix="edgeorch-agent-"))
    made = daemon.Containerd(root, f"edgeorch-agent-{os.getpid()}")
    made.make()
    try:
        made.start()
        yield made
    finally:
        made.stop()
        made.unmake()
        shutil.rmtree(root)


@dataclass
class Lab:
    """One device. `start` and `kill` are the life of the process on it; containers outlive it."""

    daemon: daemon.Containerd
    device: nets.Device
    root: pathlib.Path
    settings: Settings
    crash_loop_ceiling: float = 300.0
    puller: Any = None
    objects: objects.Objects = field(init=False)
    agent: agent.Agent = field(init=False)
    containers: containers.Containers = field(init=False)
    network: network.Network = field(init=False)
    _stack: contextlib.AsyncExitStack = field(init=False)

    async def start(self) -> None:
        self._stack = stack = contextlib.AsyncExitStack()
        clock = clocks.SystemClock()
        db = database.Database(self.root / "state.db")
        await db.open()
        stack.push_async_callback(db.close)
        self.objects = objects.Objects(db, kinds.Registry(), clock)
        await self.objects.load()
        await stack.enter_async_context(tasks.running({"db": db.run, "objects": self.objects.run}))
        if self.objects.find("namespaces", "", "default") is None:
            await self.objects.create("namespaces", _named("v1", "Namespace", "default"))
        self.network = network.Network(self.device.settings())
        await self.network.start()
        stack.push_async_callback(self.network.close)
        containerd = client.Client(self.daemon.address, "edgeorch")
        stack.callback(containerd.close)
        self.client = containerd
        self.containers = containers.Containers(containerd)
        self.images = images.Images(containerd)
        log = recorder.Log(self.objects, clock, self.settings.node_name)
        self.board = conditions.Board()
        self.agent = agent.Agent(
            self.objects,
            log,
            containerd,
            self.network,
            self.puller,
            clock,
            self.settings,
            board=self.board,
        )
        await stack.enter_async_context(tasks.running({"agent": self.agent.run}))
        self.archives = archive.Archives(containerd, work_dir=self.root / "work")

    async def stop(self) -> None:
        await self._stack.aclose()

    # --- objects --------------------------------------------------------------------------------

    async def run(self, name: str, *command: str, **changes: Any) -> Object:
        """A pod with one container `main`; keywords replace fields of the container or the spec."""
        container: Object = {
            "name": "main",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": list(command or ("sleep", "1000")),
            **changes.pop("container", {}),
        }
        spec = {
            "containers": [container],
            "nodeName": self.settings.node_name,
            "terminationGracePeriodSeconds": 1,
            **changes,
        }
        return await self.create(spec, name)

    async def create(self, spec: Object, name: str) -> Object:
        obj = {**_named("v1", "Pod", name, "default"), "spec": spec}
        return (await self.objects.create("pods", obj)).decode()

    def pod(self, name: str) -> Object | None:
        stored = self.objects.find("pods", "default", name)
        return stored.decode() if stored else None

    def status(self, name: str) -> Object:
        pod = self.pod(name)
        assert pod is not None, f"pod {name} is gone"
        return dict(pod.get("status") or {})

    def container(self, name: str, container: str = "main") -> Object:
        status = self.status(name)
        entries = [
            *(status.get("containerStatuses") or []),
            *(status.get("initContainerStatuses") or []),
        ]
        return next((entry for entry in entries if entry["name"] == container), {})

    def waiting(self, name: str, reason: str) -> Object:
        """The container's waiting state while it has that reason."""
        found: Object = self.container(name).get("state", {}).get("waiting", {})
        return found if found.get("reason") == reason else {}

    def condition(self, name: str, kind: str) -> str:
        found = self.status(name).get("conditions") or []
        return next((entry["status"] for entry in found if entry["type"] == kind), "")

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message, in no order."""
        listed = [stored.decode() for stored in self.objects.list("events").items]
        return [
            (event["reason"], event["message"])
            for event in listed
            if event["involvedObject"]["name"] == name
        ]

    # --- waiting --------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], Any], what: str = "", limit: float = PATIENCE) -> Any:
        """Look again after every change of a pod or an event. Returns what `holds` gave."""
        deadline = time.monotonic() + limit
        while True:
            found = holds()
            if found:
                return found
            if time.monotonic() > deadline:
                shown = [stored.decode() for stored in self.objects.list("pods").items]
                raise AssertionError(f"in vain: {what or holds}; pods: {shown}")
            await asyncio.sleep(0.005)

    async def running(self, name: str, restarts: int = 0) -> Object:
        """The container's status once it runs for the `restarts`th time again."""

        def holds() -> Object | None:
            if self.pod(name) is None:
                return None
            entry = self.container(name)
            fits = "running" in entry.get("state", {}) and entry["restartCount"] == restarts
            return entry if fits else None

        found: Object = await self.until(holds, f"{name} running, {restarts} restarts")
        return found

    async def phase(self, name: str, phase: str) -> None:
        await self.until(lambda: self.status(name).get("phase") == phase, f"{name} {phase}")

    async def delete(self, name: str, grace: int | None = None) -> None:
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        await self.objects.delete("pods", "default", name, options)

    async def gone(self, name: str) -> None:
        await self.until(lambda: self.pod(name) is None, f"{name} gone")

    async def pid(self, name: str) -> int:
        id_ = self.container(name)["containerID"].removeprefix("containerd://")
        task = await self.containers.task(id_)
        assert task is not None
        return task.pid


def _named(version: str, kind: str, name: str, namespace: str = "") -> Object:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta}


@pytest.fixture
async def lab(
    agent_containerd: daemon.Containerd,
    device: nets.Device,
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Lab]:
    settings = Settings(
        node_name="edge",
        data_dir=tmp_path / "data",
        run_dir=device.run_dir,
        log_dir=tmp_path / "logs",
        cgroup_root=agent_containerd.cgroup,
        **getattr(request, "param", {}),
    )
    made = Lab(agent_containerd, device, tmp_path, settings)
    await made.start()
    if not any(image.name == IMAGE for image in await made.images.list()):
        await made.archives.import_archive(archives.oci(tmp_path / "busybox.tar", "busybox"))
    try:
        yield made
    finally:
        await _clean(made)


async def _clean(lab: Lab) -> None:
    for stored in lab.objects.list("pods").items:
        await lab.delete(stored.name, grace=0)
    await lab.until(lambda: not lab.agent.pods(), "all workers at their end")
    await lab.network.uninstall()
    await lab.stop()
    for point in linux.mount_points(lab.settings.sandboxes_dir):
        linux.unmount(point)


def facts() -> machine.Facts:
    return machine.read()
