"""From Services and EndpointSlices in the real store to packets."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.lib import tasks
from edgeorch.model import kinds
from edgeorch.net import network
from edgeorch.proxy import allocation, services
from edgeorch.store import objects
from tests.component.net import conftest, pods
from tests.component.store import conftest as stores

pytestmark = pytest.mark.system

NODE = "device"


@pytest.fixture
async def store(device: conftest.Device, tmp_path: pathlib.Path) -> AsyncIterator[objects.Objects]:
    """In the device's namespace: its threads serve the network, too."""
    del device
    async with stores.opened(tmp_path / "store.db") as made:
        made.allocate_with(
            "services",
            allocation.ServiceAllocator("10.43.0.0/16", (30000, 32767), random.Random(1).randrange),
        )
        await made.create("namespaces", stores.namespace("default"))
        yield made


@contextlib.asynccontextmanager
async def proxying(
    store: objects.Objects, net: network.Network, settled: asyncio.Event | None = None
) -> AsyncIterator[services.ServiceProxy]:
    proxy = services.ServiceProxy(store, net, NODE, settled)
    running = asyncio.create_task(proxy.run())
    try:
        yield proxy
    finally:
        await tasks.cancel_and_wait(running)


async def put_service(store: objects.Objects, **spec: Any) -> dict[str, Any]:
    obj = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        }
        | spec,
    }
    stored: dict[str, Any] = (await store.create("services", obj)).decode()["spec"]
    return stored


def endpoint(pod: pods.Pod, *, ready: bool = True) -> dict[str, Any]:
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {"addresses": [pod.ip], "conditions": conditions, "nodeName": NODE}


async def put_slice(
    store: objects.Objects, *ends: dict[str, Any], protocol: str = "TCP", port: int = 8080
) -> None:
    resource, name = "endpointslices.discovery.k8s.io", "web-abc"
    ports = [{"name": "http", "port": port, "protocol": protocol}]

    def change(obj: kinds.Object) -> kinds.Object:
        return obj | {"endpoints": list(ends), "ports": ports}

    if store.find(resource, "default", name) is not None:
        await store.update(resource, "default", name, change)
        return
    obj = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "default",
            "name": name,
            "labels": {
                "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
    }
    await store.create(resource, change(obj))


async def answers(address: str, port: int, wanted: str | None) -> None:
    """Until the address answers as `wanted` (None: refuses)."""
    async with asyncio.timeout(5):
        while True:
            try:
                found: str | None = await pods.ask(None, address, port, seconds=0.3)
            except ConnectionRefusedError:
                found = None
            except TimeoutError:
                found = "nobody"
            if found == wanted:
                return
            await asyncio.sleep(0.002)


async def test_a_service_answers_as_soon_as_its_endpoints_are_ready(
    store: objects.Objects, net: network.Network
) -> None:
    a, b = [pods.Pod(await net.attach(f"uid-{n}", f"default/{n}")) for n in "ab"]
    async with pods.serving(a), pods.serving(b), proxying(store, net) as proxy:
        await pods.until(lambda: proxy.health() is None)
        spec = await put_service(store)
        address, node_port = spec["clusterIP"], spec["ports"][0]["nodePort"]
        await answers(address, 80, None)
        await put_slice(store, endpoint(a))
        await answers(address, 80, a.ip)
        assert await pods.ask(None, "127.0.0.1", node_port) == a.ip
        await put_slice(store, endpoint(a, ready=False), endpoint(b))
        await answers(address, 80, b.ip)
        await put_slice(store, endpoint(b, ready=False))
        await answers(address, 80, None)
        await put_slice(store, endpoint(b))
        await answers(address, 80, b.ip)
        await store.delete("services", "default", "web")
        await answers(address, 80, None)


async def test_a_flushed_ruleset_comes_back_with_its_services(
    store: objects.Objects, net: network.Network
) -> None:
    a = pods.Pod(await net.attach("uid-a", "default/a"))
    async with pods.serving(a), pods.running(net), proxying(store, net):
        address = (await put_service(store))["clusterIP"]
        await put_slice(store, endpoint(a))
        await answers(address, 80, a.ip)
        conftest.sh("nft flush ruleset")
        await answers(address, 80, a.ip)


async def test_a_change_that_the_kernel_refuses_is_mended_by_a_full_one(
    store: objects.Objects, net: network.Network
) -> None:
    a = pods.Pod(await net.attach("uid-a", "default/a"))
    async with pods.serving(a), proxying(store, net) as proxy:
        spec = await put_service(store)
        await put_slice(store, endpoint(a))
        await answers(spec["clusterIP"], 80, a.ip)
        conftest.sh("nft flush map ip edgeorch service-ips")
        await put_slice(store, endpoint(a, ready=False))
        await pods.until(
            lambda: spec["clusterIP"] in conftest.sh("nft list map ip edgeorch unserved-ips")
        )
        await put_slice(store, endpoint(a))
        await answers(spec["clusterIP"], 80, a.ip)
        assert proxy.health() is None


async def test_a_new_process_leaves_the_rules_until_endpoints_are_known_again(
    store: objects.Objects, net: network.Network
) -> None:
    a = pods.Pod(await net.attach("uid-a", "default/a"))
    async with pods.serving(a):
        address = (await put_service(store))["clusterIP"]
        async with proxying(store, net):
            await put_slice(store, endpoint(a))
            await answers(address, 80, a.ip)
        await store.delete("endpointslices.discovery.k8s.io", "default", "web-abc")
        settled = asyncio.Event()
        async with proxying(store, net, settled) as proxy:
            for _ in range(20):
                assert await pods.ask(None, address, 80) == a.ip
                await asyncio.sleep(0.01)
            await put_slice(store, endpoint(a))
            settled.set()
            await pods.until(lambda: proxy.health() is None)
            assert await pods.ask(None, address, 80) == a.ip


async def test_a_burst_of_changes_ends_in_the_last_state(
    store: objects.Objects, net: network.Network
) -> None:
    a, b = [pods.Pod(await net.attach(f"uid-{n}", f"default/{n}")) for n in "ab"]
    async with pods.serving(a), pods.serving(b), proxying(store, net):
        address = (await put_service(store))["clusterIP"]
        for n in range(100):
            await put_slice(store, endpoint(a if n % 2 else b))
        await put_slice(store, endpoint(b), endpoint(a, ready=False))
        await answers(address, 80, b.ip)
        assert await pods.ask_many(None, address, 80, 20) == {b.ip: 20}


async def test_a_pod_is_withdrawn_once_the_kernel_sends_it_nothing_new(
    store: objects.Objects, net: network.Network
) -> None:
    a, b = [pods.Pod(await net.attach(f"uid-{n}", f"default/{n}")) for n in "ab"]
    async with pods.serving(a), pods.serving(b), proxying(store, net) as proxy:
        await pods.until(lambda: proxy.health() is None)
        address = (await put_service(store))["clusterIP"]
        await put_slice(store, endpoint(a), endpoint(b))
        await answers(address, 80, a.ip)
        leaving = asyncio.ensure_future(proxy.withdrawn("uid-a", a.ip))
        await asyncio.sleep(0)
        assert not leaving.done()
        await put_slice(store, endpoint(a, ready=False), endpoint(b))
        async with asyncio.timeout(5):
            await leaving
        assert {await pods.ask(None, address, 80) for _ in range(20)} == {b.ip}


async def test_a_pod_that_no_service_names_need_not_wait(
    store: objects.Objects, net: network.Network
) -> None:
    async with proxying(store, net) as proxy:
        await pods.until(lambda: proxy.health() is None)
        async with asyncio.timeout(5):
            await proxy.withdrawn("uid-a", "10.42.0.9")
