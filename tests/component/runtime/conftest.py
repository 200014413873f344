"""One containerd for the package, one client per test; a test with its own daemon asks for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeorch.runtime import archive, client, containers, events, images, leases, stdio
from tests.component.runtime import archives, daemon, specs

BUSYBOX = "docker.io/library/busybox:latest"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if "/component/runtime/" in str(item.path) and used & {"containerd", "own"}:
            item.add_marker(pytest.mark.system)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a test may want, on one client."""

    daemon: daemon.Containerd
    run_dir: Path
    client: client.Client
    containers: containers.Containers
    images: images.Images
    archives: archive.Archives
    leases: leases.Leases
    events: events.Events
    stdio: stdio.StdioDir

    async def create(self, container_id: str, *args: str, **spec: object) -> None:
        config = await self.images.config(BUSYBOX)
        cgroup = f"{self.daemon.cgroup}/{container_id}"
        await self.containers.create(
            container_id,
            image=BUSYBOX,
            chain_id=config.chain_id,
            spec=specs.minimal(list(args), cgroup=cgroup, **spec),  # type: ignore[arg-type]
            labels={"app": container_id},
        )

    async def run(self, container_id: str, *args: str, **spec: object) -> int:
        """Create and start with no output; the pid."""
        await self.create(container_id, *args, **spec)
        return await self.containers.start(container_id, stdio.Stdio())


def runtime_of(started: daemon.Containerd, run_dir: Path) -> Runtime:
    containerd = client.Client(started.address, "edgeorch")
    return Runtime(
        daemon=started,
        run_dir=run_dir,
        client=containerd,
        containers=containers.Containers(containerd),
        images=images.Images(containerd),
        archives=archive.Archives(containerd, work_dir=run_dir / "work"),
        leases=leases.Leases(containerd),
        events=events.Events(containerd),
        stdio=stdio.StdioDir(run_dir),
    )


@pytest.fixture(scope="session")
def containerd() -> Iterator[daemon.Containerd]:
    root = Path(tempfile.mkdtemp(prefix="edgeorch-test-"))
    # Each package that imports this fixture gets one of its own, all in the same session.
    made = daemon.Containerd(root, root.name)
    made.make()
    try:
        made.start()
        yield made
    finally:
        made.stop()
        made.unmake()
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives.oci(tmp_path_factory.mktemp("images") / "busybox.tar", "busybox")


@pytest.fixture
async def runtime(
    containerd: daemon.Containerd, tmp_path: Path, busybox_archive: Path
) -> AsyncIterator[Runtime]:
    """With busybox imported; whatever the test leaves in containerd is removed."""
    made = runtime_of(containerd, tmp_path)
    try:
        if not any(image.name == BUSYBOX for image in await made.images.list()):
            await made.archives.import_archive(busybox_archive)
        yield made
        for record in await made.containers.list():
            await made.containers.delete(record.id, force=True)
        for lease in await made.leases.list():
            await made.leases.remove(lease.id)
    finally:
        made.client.close()
