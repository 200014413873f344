"""Pods that are over do not pile up; those of a node that is gone go."""

from __future__ import annotations

import functools

import pytest

from edgeorch.core import pod_gc
from tests.component.controllers import conftest
from tests.component.controllers.conftest import Device, pod

THRESHOLD = 3


@pytest.fixture(autouse=True)
def threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "TERMINATED_PODS", THRESHOLD)


def bound(device: Device, name: str) -> bool:
    return bool(device.get("pods", name)["spec"].get("nodeName"))


async def test_the_oldest_of_those_that_are_over_go(device: Device) -> None:
    for number in range(THRESHOLD + 2):
        name = f"done-{number}"
        await device.store.create("pods", pod(name))
        await device.until(functools.partial(bound, device, name), f"{name} bound")
        await device.agent.report("default", name, ready=False, phase="Succeeded")
    await device.until(lambda: len(device.all("pods")) == THRESHOLD, "the surplus gone")


async def test_a_pod_of_no_node_goes(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_gc, "QUARANTINE", 0.2)
    device.agent.makes_ready = False
    await device.store.create("pods", pod("lost", nodeName="elsewhere"))
    await device.until(lambda: device.find("pods", "lost") is None, "the orphan gone")
