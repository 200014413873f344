"""A pod object becomes a running container, comes back when it dies, and goes without a trace."""

from __future__ import annotations

import os
import signal

from tests.component.agent.conftest import Lab


async def test_a_pod_runs_and_says_so(lab: Lab) -> None:
    await lab.run("web")
    entry = await lab.running("web")
    status = lab.status("web")

    assert status["phase"] == "Running"
    assert entry["ready"]
    assert entry["started"]
    assert entry["containerID"].startswith("containerd://")
    assert entry["imageID"].startswith("docker.io/library/busybox@sha256:")
    assert status["podIP"].startswith("10.42.0.")
    assert status["hostIP"] == "192.0.2.10"
    kinds = {entry["type"]: entry["status"] for entry in status["conditions"]}
    assert kinds == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"),
        "True",
    )

    def reasons() -> list[str]:
        return sorted(reason for reason, _ in lab.events("web"))

    # That it runs may be seen before it is told.
    await lab.until(lambda: len(reasons()) == 3, "its events")
    assert reasons() == ["Created", "Pulled", "Started"]


async def test_a_killed_container_comes_back(lab: Lab) -> None:
    await lab.run("web")
    await lab.running("web")
    os.kill(await lab.pid("web"), signal.SIGKILL)
    entry = await lab.running("web", restarts=1)

    assert entry["lastState"]["terminated"]["exitCode"] == 137
    assert entry["lastState"]["terminated"]["reason"] == "Error"


async def test_a_deleted_pod_leaves_nothing(lab: Lab) -> None:
    pod = await lab.run("web")
    await lab.running("web")
    await lab.delete("web")
    await lab.gone("web")

    uid = pod["metadata"]["uid"]
    assert not [r for r in await lab.containers.list() if r.labels["edgeorch.io/pod-uid"] == uid]
    assert uid not in lab.network.sandboxes()
    assert not (lab.settings.sandboxes_dir / uid).exists()
    assert not (lab.settings.pods_dir / uid).exists()
    assert not list(lab.settings.log_dir.glob("*"))
