"""Pods that outgrow their share of the disk end with the kubelet's words, and stay ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeorch.agent import local_storage
from tests.component.agent.conftest import Lab

SCRATCH = [{"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}]
MOUNTS = {"volumeMounts": [{"name": "x", "mountPath": "/x"}]}
FULL = 'Usage of EmptyDir volume "x" exceeds the limit "1Mi". '
FILL = "trap '' TERM; busybox dd if=/dev/zero of={} bs=1M count=3 2>/dev/null; sleep 1000"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_storage, "INTERVAL", 0.1)
    monkeypatch.setattr(local_storage, "_REST", 1)


def limited(amount: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"limits": {"ephemeral-storage": amount}}, **more}


def target(lab: Lab, name: str) -> tuple[str, str]:
    found = {each["type"]: each for each in lab.status(name)["conditions"]}["DisruptionTarget"]
    return found["reason"], found["message"]


async def test_each_limit_is_told_in_its_own_words(lab: Lab) -> None:
    await lab.run("volume", "sh", "-c", FILL.format("/x/y"), volumes=SCRATCH, container=MOUNTS)
    await lab.run("layer", "sh", "-c", FILL.format("/y"), container=limited("2Mi"))
    chatter = "busybox yes | busybox head -c 4000000; sleep 1000"
    await lab.run("log", "sh", "-c", chatter, container=limited("2Mi"))
    await lab.run("fits", "sh", "-c", FILL.format("/y"), container=limited("10Mi"))
    told = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    for name, message in (("volume", FULL), ("layer", told), ("log", told)):
        await lab.phase(name, "Failed")
        status = lab.status(name)
        assert (status["reason"], status["message"]) == ("Evicted", message)
        assert target(lab, name) == ("TerminationByKubelet", message)
        assert ("Evicted", message) in lab.events(name)
    # Room is made at once, and the status still says how all ended.
    await lab.until(lambda: not lab.agent.observer.pod(lab.pod("volume")["metadata"]["uid"]))  # type: ignore[index]
    assert lab.container("volume")["state"]["terminated"]["exitCode"] == 137
    uid = lab.pod("volume")["metadata"]["uid"]  # type: ignore[index]
    assert not (lab.settings.pods_dir / uid / "volumes").exists()
    assert "running" in lab.container("fits")["state"]


async def test_a_restart_in_the_midst_does_not_forget(lab: Lab) -> None:
    """The process is gone between its word and the end of the container."""
    await lab.run(
        "volume", "sh", "-c", FILL.format("/x/y"), volumes=SCRATCH, container=MOUNTS,
        terminationGracePeriodSeconds=30,
    )  # fmt: skip
    await lab.until(lambda: lab.status("volume").get("reason") == "Evicted")
    assert lab.status("volume")["phase"] == "Running"
    await lab.stop()
    await lab.start()
    await lab.phase("volume", "Failed")
    assert lab.status("volume")["message"] == FULL
    assert lab.container("volume")["restartCount"] == 0


async def test_nobody_is_measured_while_nobody_is_limited(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    usage = local_storage.DiskMeter.usage

    async def counted(self: Any, pod: Any, containers: Any) -> Any:
        measured.append(pod.metadata.name)
        return await usage(self, pod, containers)

    monkeypatch.setattr(local_storage.DiskMeter, "usage", counted)
    await lab.run("free")
    await lab.running("free")
    await asyncio.sleep(0.3)
    assert measured == []
    await lab.run("bound", container=limited("10Mi"))
    await lab.until(lambda: measured)
    assert set(measured) == {"bound"}


async def test_a_pod_that_names_the_node_needs_room_there(lab: Lab) -> None:
    await lab.until(lambda: lab.objects.list("nodes").items, "a node")
    node = lab.objects.list("nodes").items[0]
    await lab.until(
        lambda: lab.objects.get("nodes", "", node.name).decode().get("status", {}).get("capacity")
    )
    await lab.run("huge", container={"resources": {"requests": {"memory": "1Ti"}}})
    await lab.phase("huge", "Failed")
    status = lab.status("huge")
    assert status["reason"] == "OutOfmemory"
    told = "Node didn't have enough resource: memory, requested: 1099511627776, used: 0, capacity:"
    assert status["message"].startswith(f"Pod was rejected: {told}")
    assert all(each["type"] != "DisruptionTarget" for each in status["conditions"])
    ((reason, message),) = lab.events("huge")
    assert reason == "OutOfmemory"
    assert message.startswith(told)
