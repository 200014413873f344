"""A node that is short of something: who goes, in which order, with which words; what is spared.

What the gauges show is told by the test; pods, containers and logs are real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeorch.agent import gauges
from edgeorch.core import pressure
from edgeorch.core.pressure import Level, Signal
from tests.component.agent.conftest import Lab

MI = 1 << 20
RULES = pressure.policy(
    {"memory.available": "100Mi", "nodefs.available": "10%"}, {}, {}, {}, transition=0.5
)
quick = pytest.mark.parametrize(
    "lab", [{"pressure": RULES, "pressure_interval": 0.05}], indirect=True
)
Tell = Callable[[dict[Signal, Callable[[], Level]]], None]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Tell:
    shown: dict[Signal, Callable[[], Level]] = {}
    monkeypatch.setattr(gauges, "levels", lambda *_: {s: told() for s, told in shown.items()})
    return shown.update


def memory(available: int) -> dict[Signal, Callable[[], Level]]:
    return {Signal.MEMORY: lambda: Level(available * MI, 512 * MI)}


def asking(amount: str) -> dict[str, Any]:
    return {"resources": {"requests": {"memory": amount}}}


def condition(lab: Lab, kind: str) -> tuple[str, str, str]:
    node = lab.objects.get("nodes", "", "edge").decode()
    listed = (node.get("status") or {}).get("conditions") or []
    found: dict[str, str] = next((each for each in listed if each["type"] == kind), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


@quick
async def test_for_want_of_memory_pods_go_one_by_one(lab: Lab, show: Tell) -> None:
    show(memory(500))
    await lab.run("modest", container=asking("64Mi"))
    await lab.run("hungry")
    await lab.run("needed", priority=2_000_001_000)  # as admission makes it
    for name in ("modest", "hungry", "needed"):
        await lab.running(name)
    fine = ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
    assert condition(lab, "MemoryPressure") == fine

    show({Signal.MEMORY: lambda: Level((99 if alive(lab, "hungry") else 100) * MI, 512 * MI)})
    await lab.phase("hungry", "Failed")
    status = lab.status("hungry")
    low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. "
    assert status["reason"] == "Evicted"
    assert status["message"].startswith(f"{low}Container main was using ")
    assert status["message"].endswith(", request is 0, has larger consumption of memory. ")
    target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    assert ("Evicted", status["message"]) in lab.events("hungry")
    told = ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
    await lab.until(lambda: condition(lab, "MemoryPressure") == told)
    node = [
        ("EvictionThresholdMet", "Attempting to reclaim memory"),
        ("NodeHasInsufficientMemory", "Node edge status is now: NodeHasInsufficientMemory"),
    ]
    assert set(node) <= set(lab.events("edge"))
    assert "running" in lab.container("modest")["state"]

    show(memory(1))
    await lab.run("late")  # names the node, and asks for nothing
    await lab.phase("late", "Failed")
    why = "Pod was rejected: The node had condition: [MemoryPressure]. "
    assert (lab.status("late")["reason"], lab.status("late")["message"]) == ("Evicted", why)
    await lab.phase("modest", "Failed")
    assert lab.status("modest")["message"] == low.replace("99Mi", "1Mi")

    show(memory(500))
    await lab.until(lambda: condition(lab, "MemoryPressure") == fine)
    assert "running" in lab.container("needed")["state"]
    await lab.run("after")
    await lab.running("after")


def alive(lab: Lab, name: str) -> bool:
    pod = lab.pod(name)
    return pod is not None and bool(lab.agent.observer.pod(pod["metadata"]["uid"]))


@quick
async def test_before_a_pod_goes_what_nobody_needs_does(lab: Lab, show: Tell) -> None:
    show({Signal.NODEFS: lambda: Level(50, 100)})
    await lab.run("done", "true", restartPolicy="Never")
    await lab.phase("done", "Succeeded")
    await lab.run("talker", "sh", "-c", "echo first; sleep 1000")
    await lab.running("talker")
    uid = lab.pod("talker")["metadata"]["uid"]  # type: ignore[index]
    log = lab.settings.log_dir / f"default_talker_{uid}" / "main" / "0.log"
    await lab.until(lambda: log.exists() and log.stat().st_size)
    old = log.with_name("0.log.20260101-000000")
    old.write_bytes(b"2026-01-01T00:00:00Z stdout F old\n")
    assert alive(lab, "done")
    needless = [lambda: alive(lab, "done"), old.exists]
    show({Signal.NODEFS: lambda: Level(9 if any(each() for each in needless) else 10, 100)})
    await lab.until(lambda: not old.exists() and not alive(lab, "done"))
    told = ("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
    await lab.until(lambda: condition(lab, "DiskPressure") == told)
    fine = ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
    await lab.until(lambda: condition(lab, "DiskPressure") == fine)
    assert "running" in lab.container("talker")["state"]
    assert log.stat().st_size
    assert lab.status("done")["phase"] == "Succeeded"
