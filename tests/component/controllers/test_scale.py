"""A change to one object costs the same with many objects as with few."""

from __future__ import annotations

import asyncio

import pytest

from edgeorch.controllers import frame, index
from tests.component.controllers.conftest import Device, pod, service
from tests.component.controllers.test_endpoints import ready_addresses


async def wake_ups(device: Device, log: list[tuple[str, object]]) -> int:
    """How often controllers reconcile because one pod became unready and ready again."""
    await device.until(lambda: len(ready_addresses(device)) == 2, "endpoints")
    await settle(log)
    log.clear()
    await device.agent.report("default", "a", ready=False)
    await device.until(lambda: len(ready_addresses(device)) == 1, "unready")
    await device.agent.report("default", "a", ready=True)
    await device.until(lambda: len(ready_addresses(device)) == 2, "ready")
    await settle(log)
    return len(log)


async def settle(log: list[tuple[str, object]]) -> None:
    """Until nobody has been woken for a while of the loop's turns."""
    quiet = 0
    while quiet < 200:
        before = len(log)
        await asyncio.sleep(0.001)
        quiet = quiet + 1 if len(log) == before else 0


async def test_wake_ups_do_not_grow_with_the_number_of_objects(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[str, object]] = []
    real = frame.Controller._try

    async def counted(self: frame.Controller[index.Key], key: index.Key) -> None:
        log.append((self.name, key))
        await real(self, key)

    monkeypatch.setattr(frame.Controller, "_try", counted)
    await device.store.create("services", service(ports=[{"port": 80, "protocol": "TCP"}]))
    for name in ("a", "b"):
        await device.store.create("pods", pod(name))
    few = await wake_ups(device, log)
    others = {"selector": {"app": "other"}, "ports": [{"port": 80, "protocol": "TCP"}]}
    await asyncio.gather(
        *(
            device.store.create("services", service(f"s{n}", clusterIP=f"10.96.1.{n}", **others))
            for n in range(200)
        )
    )
    await settle(log)
    many = await wake_ups(device, log)
    assert few > 0
    assert many <= few + 1
