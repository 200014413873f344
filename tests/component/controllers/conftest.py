"""All controllers on a real store, and in place of the agent one that makes pods ready at once."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edgeorch.agent.volumes import folders
from edgeorch.controllers import assembly, autoscalers
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import errors, kinds
from edgeorch.store import database, objects, recorder, watch

Object = dict[str, Any]
NODE = "edge"
METER: autoscalers.Meter | None = None
"""What measures for autoscalers; their tests put one here."""

TERMINATED_PODS = 0
"""How many pods that are over are kept; 0: all."""


class Agent:
    """Does to pods what containers would: running and ready when bound, gone when deleted."""

    def __init__(self, store: objects.Objects) -> None:
        self._store = store
        self._addresses = 0
        self.makes_ready = True

    async def run(self) -> None:
        while True:
            with contextlib.suppress(watch.Expired):
                await self._follow()

    async def _follow(self) -> None:
        """Raises Expired."""
        seen = self._store.watch("pods")
        for stored in self._store.list("pods").items:
            await self._see(stored.namespace, stored.name)
        async with seen as news:
            async for batch in news:
                for event in batch:
                    if event.type != watch.DELETED:
                        await self._see(event.stored.namespace, event.stored.name)

    async def _see(self, namespace: str, name: str) -> None:
        stored = self._store.find("pods", namespace, name)
        if stored is None:
            return
        pod = stored.decode()
        if not pod["spec"].get("nodeName"):
            return
        with contextlib.suppress(errors.StatusError):
            if pod["metadata"].get("deletionTimestamp"):
                await self._store.delete("pods", namespace, name, {"gracePeriodSeconds": 0})
            elif self.makes_ready and pod["status"].get("phase") == "Pending":
                self._addresses += 1
                await self.report(namespace, name, ready=True, ip=f"10.0.0.{self._addresses}")

    async def report(
        self, namespace: str, name: str, *, ready: bool, ip: str = "", phase: str = "Running"
    ) -> None:
        def change(obj: Object) -> Object:
            now = clocks.rfc3339(clocks.SystemClock().now())
            status = {"startTime": now, **obj["status"], "phase": phase}
            if ip:
                status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
            state = {"type": "Ready", "status": "True" if ready else "False"}
            state["lastTransitionTime"] = now
            others = [each for each in status.get("conditions", []) if each["type"] != "Ready"]
            return {**obj, "status": {**status, "conditions": [*others, state]}}

        await self._store.update_status("pods", namespace, name, change)


class Device:
    """The store with everything around it."""

    def __init__(self, store: objects.Objects, events: recorder.Log) -> None:
        self.store = store
        self.events = events
        self.agent = Agent(store)

    def all(self, resource: str, namespace: str = "default", **labels: str) -> list[Object]:
        found = (each.decode() for each in self.store.list(resource, namespace).items)
        return [
            each
            for each in found
            if labels.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def get(self, resource: str, name: str, namespace: str = "default") -> Object:
        return self.store.get(resource, namespace, name).decode()

    def find(self, resource: str, name: str, namespace: str = "default") -> Object | None:
        stored = self.store.find(resource, namespace, name)
        return stored.decode() if stored is not None else None

    def messages(self, reason: str) -> list[str]:
        return [each["message"] for each in self.all("events") if each["reason"] == reason]

    async def edit(self, resource: str, name: str, change: Callable[[Object], None]) -> None:
        def changed(obj: Object) -> Object:
            change(obj)
            return obj

        namespace = "" if resource in ("nodes", "namespaces") else "default"
        await self.store.update(resource, namespace, name, changed)

    async def until(self, holds: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
        """Wait for the changes that make it true."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := holds()):
                    await asyncio.sleep(0.002)
                return found
        except TimeoutError:
            pods = [(p["metadata"]["name"], p["status"]) for p in self.all("pods")]
            raise AssertionError(f"not within {seconds} s: {what}; pods: {pods}") from None


@contextlib.asynccontextmanager
async def running(path: pathlib.Path) -> AsyncIterator[Device]:
    """The device from start to clean stop; the same path again is a restart."""
    clock = clocks.SystemClock()
    db = database.Database(path)
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clock)
    await store.load()
    events = recorder.Log(store, clock, NODE)
    device = Device(store, events)
    found = assembly.all_controllers(
        store,
        events,
        clock,
        node_name=NODE,
        ca_certificate="a certificate",
        folders=folders.VolumeFolders(path.parent / "storage"),
        meter=METER,
        terminated_pods=TERMINATED_PODS,
    )
    writer = asyncio.ensure_future(db.run())
    flusher = asyncio.ensure_future(store.run())
    if store.find("nodes", "", NODE) is None:
        await store.create("nodes", node())
    loops = [asyncio.ensure_future(each.run()) for each in found]
    agent = asyncio.ensure_future(device.agent.run())
    try:
        yield device
    finally:
        for loop in loops:
            if loop.done():
                loop.result()
        await tasks.cancel_and_wait(*loops, agent)
        await tasks.cancel_and_wait(flusher)
        await tasks.cancel_and_wait(writer)
        await db.close()


@pytest.fixture
async def device(tmp_path: pathlib.Path) -> AsyncIterator[Device]:
    async with running(tmp_path / "state.db") as found:
        await found.until(lambda: found.store.find("namespaces", "", "default"), "a namespace")
        yield found


def node(**allocatable: str) -> Object:
    amounts = {"cpu": "4", "memory": "4Gi", "ephemeral-storage": "8Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {"disk": "ssd"}},
        "status": {"allocatable": {**amounts, **allocatable}},
    }


def template(image: str = "web:1", **labels: str) -> Object:
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": {"labels": {"app": "web", **labels}},
        "spec": {"containers": [{"name": "main", "image": image, "ports": ports}]},
    }


def deployment(name: str = "web", replicas: int = 3, **spec: Any) -> Object:
    wanted = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**wanted, **spec},
    }


def pod(name: str, **spec: Any) -> Object:
    body = {"containers": [{"name": "main", "image": "web:1"}], **spec}
    meta = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def service(name: str = "web", **spec: Any) -> Object:
    body = {
        "selector": {"app": "web"},
        "clusterIP": "10.96.0.10",
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        "ipFamilies": ["IPv4"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {name: value for name, value in {**body, **spec}.items() if value is not None},
    }


def config_map(name: str, *owners: Object, **meta: Any) -> Object:
    refs = [
        {
            "apiVersion": each["apiVersion"],
            "kind": each["kind"],
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for each in owners
    ]
    full = {"name": name, "namespace": "default", "ownerReferences": refs, **meta}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": full}
