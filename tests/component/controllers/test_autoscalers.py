"""Autoscalers on a real store, with a meter that says what pods use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from edgeorch.controllers import autoscalers
from edgeorch.core import autoscaling, replica_calculator
from tests.component.controllers import conftest
from tests.component.controllers.conftest import Device, deployment, template

Object = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    cpu: int
    memory: int = 2**20
    window: float = 0.01


class Meter:
    """All pods use the same, in thousandths of a core."""

    def __init__(self) -> None:
        self.cpu = 50
        self.asked = 0

    async def since_last(self, names: set[tuple[str, str]]) -> dict[Any, dict[str, Usage]]:
        await asyncio.sleep(0)
        self.asked += 1
        return {key: {"main": Usage(self.cpu * 10**6)} for key in names}


@pytest.fixture(autouse=True)
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Looks come a hundred times as often, and nobody waits for what starts or recommended."""
    made = Meter()
    monkeypatch.setattr(conftest, "METER", made)
    monkeypatch.setattr(autoscaling, "PERIOD", 0.05)
    monkeypatch.setattr(autoscalers, "_FIRST_WINDOW", 0.05)
    monkeypatch.setattr(replica_calculator, "INITIALIZATION", 0.0)
    return made


def autoscaler(name: str = "web", most: int = 6, **spec: Any) -> Object:
    target = {"type": "Utilization", "averageUtilization": 50}
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 2,
        "maxReplicas": most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        **spec,
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": body,
    }


def asking() -> Object:
    found = template()
    found["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    return found


def reasons(device: Device, name: str = "web") -> dict[str, str]:
    status = device.get("horizontalpodautoscalers.autoscaling", name).get("status") or {}
    return {each["type"]: each["reason"] for each in status.get("conditions", ())}


def size(device: Device) -> int:
    found: int = device.get("deployments.apps", "web")["spec"]["replicas"]
    return found


async def test_up_and_down_with_the_load(device: Device, meter: Meter) -> None:
    await device.store.create("deployments.apps", deployment(replicas=2, template=asking()))
    await device.store.create("horizontalpodautoscalers.autoscaling", autoscaler())
    await device.until(lambda: reasons(device).get("ScalingActive") == "ValidMetricFound", "metric")
    assert size(device) == 2
    meter.cpu = 100
    await device.until(lambda: size(device) == 6, "to the most")
    await device.until(lambda: len(device.all("pods")) == 6, "six pods")
    await device.until(lambda: reasons(device)["ScalingLimited"] == "TooManyReplicas", "limited")
    meter.cpu = 5
    await device.until(lambda: size(device) == 2, "to the least")
    await device.until(lambda: reasons(device)["ScalingLimited"] == "TooFewReplicas", "limited")
    percent = "cpu resource utilization (percentage of request)"
    said = device.messages("SuccessfulRescale")
    assert said[0] == f"New size: 4; reason: {percent} above target"
    assert said[-1] == "New size: 2; reason: All metrics below target"
    resource = "horizontalpodautoscalers.autoscaling"
    await device.until(
        lambda: device.get(resource, "web")["status"]["currentReplicas"] == 2, "the next look"
    )
    status = device.get(resource, "web")["status"]
    current = status["currentMetrics"][0]["resource"]["current"]
    assert current == {"averageUtilization": 5, "averageValue": "5m"}
    assert status["desiredReplicas"] == 2


async def test_it_waits_for_its_target_and_costs_nothing_when_gone(
    device: Device, meter: Meter
) -> None:
    resource = "horizontalpodautoscalers.autoscaling"
    await device.store.create(resource, autoscaler())
    await device.until(lambda: reasons(device).get("AbleToScale") == "FailedGetScale", "no target")
    assert device.messages("FailedGetScale")[0] == 'deployments/scale.apps "web" not found'
    await device.store.create("deployments.apps", deployment(replicas=1, template=asking()))
    await device.until(lambda: size(device) == 2, "its least")
    await device.store.delete(resource, "default", "web")
    await asyncio.sleep(0.2)
    asked = meter.asked
    await asyncio.sleep(0.3)
    assert meter.asked == asked


async def test_two_of_the_same_pods_do_nothing(device: Device, meter: Meter) -> None:
    await device.store.create("deployments.apps", deployment(replicas=2, template=asking()))
    for name in ("one", "two"):
        await device.store.create("horizontalpodautoscalers.autoscaling", autoscaler(name))
    told = ["AmbiguousSelector"] * 2
    await device.until(
        lambda: [reasons(device, name).get("ScalingActive") for name in ("one", "two")] == told,
        "both are told",
    )
    meter.cpu = 100
    await asyncio.sleep(0.2)
    assert size(device) == 2


async def test_what_pods_use_is_not_written_down_each_time(
    device: Device, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = "horizontalpodautoscalers.autoscaling"
    written: list[bool] = []
    real = device.store.update_status

    async def noted(*args: Any, fleeting: bool = False) -> Any:
        if args[0] == resource:
            written.append(not fleeting)
        return await real(*args, fleeting=fleeting)

    monkeypatch.setattr(device.store, "update_status", noted)
    await device.store.create("deployments.apps", deployment(replicas=2, template=asking()))
    await device.store.create(resource, autoscaler())
    await device.until(lambda: reasons(device).get("ScalingActive") == "ValidMetricFound", "metric")
    assert written[0]
    before = len(written)
    meter.cpu = 51
    await device.until(lambda: len(written) > before, "news")
    assert written[before:] == [False]
