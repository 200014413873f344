"""A change to one object costs the same with many objects as with few: who is woken, and how many
objects they look at, is counted."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edgeorch.controllers import frame, index
from edgeorch.core import autoscaling
from edgeorch.store import objects
from tests.component.controllers.conftest import Device, config_map, deployment, pod, service
from tests.component.controllers.test_endpoints import ready_addresses

Object = dict[str, Any]
FEW = 5
MANY, PODS = (500, 110) if os.environ.get("EDGEORCH_SOAK") == "1" else (60, 60)


_reconciling: contextvars.ContextVar[bool] = contextvars.ContextVar("reconciling", default=False)


class Work:
    """What controllers do: how often each reconciles, and how many objects it finds on the way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.woken: Counter[str] = Counter()
        self.looked_at = 0
        real = frame.Controller._try

        async def counted(controller: frame.Controller[Any], key: Any) -> str:
            self.woken[controller.name] += 1
            token = _reconciling.set(True)
            try:
                return await real(controller, key)
            finally:
                _reconciling.reset(token)

        monkeypatch.setattr(frame.Controller, "_try", counted)
        for owner, name in ((index.Index, "find"), (index.Index, "keys"), (index.Index, "all")):
            monkeypatch.setattr(owner, name, self._looking(getattr(owner, name)))
        listing = objects.Objects.list

        def listed(store: objects.Objects, *args: Any) -> Any:
            found = listing(store, *args)
            self._look(len(found.items))
            return found

        monkeypatch.setattr(objects.Objects, "list", listed)

    def _looking(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def look(*args: Any) -> Any:
            found = real(*args)
            self._look(len(found))
            return found

        return look

    def _look(self, count: int) -> None:
        """The test's own looks are none of theirs."""
        if _reconciling.get():
            self.looked_at += count

    async def of(self, change: Awaitable[Any]) -> tuple[int, int]:
        """Reconciliations and objects looked at because of one change, until all is quiet."""
        await self.quiet()
        self.woken.clear()
        self.looked_at = 0
        await change
        await self.quiet()
        return self.woken.total(), self.looked_at

    async def quiet(self) -> None:
        turns = 0
        while turns < 60:
            before = self.woken.total()
            await asyncio.sleep(0.001)
            turns = turns + 1 if self.woken.total() == before else 0


def made(kind: str, version: str, name: str, spec: Object, **meta: Any) -> Object:
    full = {"name": name, "namespace": "default", **meta}
    return {"apiVersion": version, "kind": kind, "metadata": full, "spec": spec}


def template(name: str, **spec: Any) -> Object:
    """Of pods that never come to be: no more are wanted, or the node does not suit."""
    container = {"name": "main", "image": "web:1"}
    body = {"containers": [container], "nodeSelector": {"there": "is-none"}, **spec}
    return {"metadata": {"labels": {"app": name}}, "spec": body}


def others(number: int) -> dict[str, Object]:
    """One of each kind that is reconciled, and what they own."""
    name = f"other-{number}"
    labels = {"app": name}
    selector = {"matchLabels": labels}
    sized = {"replicas": 0, "selector": selector, "template": template(name)}
    once = {"template": template(name, restartPolicy="Never"), "suspend": True}
    cron = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": once}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    headless = {"selector": labels, "clusterIP": "None", "ports": [{"port": 80}]}
    return {
        "deployments.apps": made("Deployment", "apps/v1", name, sized),
        "replicasets.apps": made("ReplicaSet", "apps/v1", f"{name}-lone", sized),
        "replicationcontrollers": made(
            "ReplicationController", "v1", name, {**sized, "selector": labels}
        ),
        "statefulsets.apps": made("StatefulSet", "apps/v1", name, {**sized, "serviceName": ""}),
        "daemonsets.apps": made(
            "DaemonSet", "apps/v1", name, {"selector": selector, "template": template(name)}
        ),
        "jobs.batch": made("Job", "batch/v1", name, once),
        "cronjobs.batch": made("CronJob", "batch/v1", name, cron),
        "poddisruptionbudgets.policy": made(
            "PodDisruptionBudget", "policy/v1", name, {"selector": selector, "maxUnavailable": 1}
        ),
        "horizontalpodautoscalers.autoscaling": made(
            "HorizontalPodAutoscaler", "autoscaling/v2", name,
            {"scaleTargetRef": target, "maxReplicas": 3},
        ),
        "services": made("Service", "v1", name, headless),
        "configmaps": config_map(name),
        "secrets": {"apiVersion": "v1", "kind": "Secret", "metadata": {
            "name": name, "namespace": "default",
        }},
    }  # fmt: skip


async def fill(device: Device, start: int, end: int) -> None:
    for number in range(start, end):
        await asyncio.gather(
            *(device.store.create(resource, obj) for resource, obj in others(number).items())
        )


async def costs(device: Device, work: Work) -> dict[str, tuple[int, int]]:
    """Of one change to one object of each kind, and of a pod that turns unready."""
    found = {}

    def touched(obj: Object) -> None:
        labels = obj["metadata"].setdefault("labels", {})
        labels["touched"] = str(int(labels.get("touched", 0)) + 1)

    for resource, obj in others(0).items():
        name = obj["metadata"]["name"]
        found[resource] = await work.of(device.edit(resource, name, touched))

    async def flap() -> None:
        await device.agent.report("default", "a", ready=False)
        await device.until(lambda: len(ready_addresses(device)) == 1, "unready")
        await device.agent.report("default", "a", ready=True)
        await device.until(lambda: len(ready_addresses(device)) == 2, "ready")

    found["pods"] = await work.of(flap())
    found["scale"] = await work.of(scaled(device, 2))
    await work.of(scaled(device, 1))
    return found


async def scaled(device: Device, replicas: int) -> None:
    def change(obj: Object) -> None:
        obj["spec"]["replicas"] = replicas

    await device.edit("deployments.apps", "main", change)
    running = {"app": "main"}
    await device.until(lambda: len(device.all("pods", **running)) == replicas, f"{replicas} pods")


async def test_one_change_costs_the_same_among_many(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An autoscaler looks once, when it is made.
    monkeypatch.setattr(autoscaling, "PERIOD", 1e6)
    await device.store.create("services", service(ports=[{"port": 80, "protocol": "TCP"}]))
    for name in ("a", "b"):
        await device.store.create("pods", pod(name))
    await device.until(lambda: len(ready_addresses(device)) == 2, "endpoints")
    body = {"metadata": {"labels": {"app": "main"}}, "spec": pod("x")["spec"]}
    selector = {"matchLabels": {"app": "main"}}
    await device.store.create(
        "deployments.apps", deployment("main", 1, selector=selector, template=body)
    )
    await fill(device, 0, FEW)
    work = Work(monkeypatch)
    few = await costs(device, work)
    await fill(device, FEW, MANY)
    body = {"metadata": {"labels": {"app": "crowd"}}, "spec": pod("x")["spec"]}
    selector = {"matchLabels": {"app": "crowd"}}
    await device.store.create(
        "deployments.apps", deployment("crowd", PODS - 3, selector=selector, template=body)
    )
    await device.until(lambda: len(device.all("pods", app="crowd")) == PODS - 3, "a full device")
    many = await costs(device, work)
    assert few["deployments.apps"][0] > 0
    for what, (woken, looked_at) in many.items():
        # Chance may coalesce two wake-ups into one, or not.
        assert woken <= few[what][0] + 3, (what, few, many)
        assert looked_at <= few[what][1] + 40, (what, few, many)
