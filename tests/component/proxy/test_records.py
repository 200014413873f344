"""Services, EndpointSlices and Namespaces of a real store, as names."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import pathlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.core import dns_zone
from edgeorch.lib import tasks
from edgeorch.proxy import allocation, records
from edgeorch.store import objects, watch
from edgeorch.wire import dns
from tests.component.store import conftest as stores

SLICES = "endpointslices.discovery.k8s.io"


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[objects.Objects]:
    async with stores.opened(tmp_path / "state.db") as made:
        made.allocate_with(
            "services",
            allocation.ServiceAllocator("10.43.0.0/16", (30000, 32767), random.Random(1).randrange),
        )
        await made.create("namespaces", stores.namespace("default"))
        yield made


@contextlib.asynccontextmanager
async def following(store: objects.Objects) -> AsyncIterator[dns_zone.Zone]:
    zone = dns_zone.Zone("cluster.local", "10.43.0.10", ["10.42.0.0/24", "10.43.0.0/16"])
    made = records.Records(store, zone)
    made.load()
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield zone
    finally:
        await tasks.cancel_and_wait(running)


@pytest.fixture
async def zone(store: objects.Objects) -> AsyncIterator[dns_zone.Zone]:
    async with following(store) as made:
        yield made


def service(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default"}
    body = {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": body}


def endpoint(ip: str, *, ready: bool = True, **more: str) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": {"ready": ready}, **more}


async def put_slice(
    store: objects.Objects, name: str, owner: str, *endpoints: dict[str, Any]
) -> None:
    def change(obj: dict[str, Any]) -> dict[str, Any]:
        obj["metadata"]["labels"]["kubernetes.io/service-name"] = owner
        return {**obj, "endpoints": list(endpoints)}

    if store.find(SLICES, "default", name) is not None:
        await store.update(SLICES, "default", name, change)
        return
    labels = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    obj = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }
    await store.create(SLICES, change(obj))


def look(zone: dns_zone.Zone, name: str, kind: int = dns.A) -> list[str] | int:
    found = zone.lookup(dns.Question(dns.name(name), kind))
    assert found is not None
    if found.body.rcode:
        return found.body.rcode
    if kind == dns.A:
        return sorted(str(ipaddress.ip_address(r.rdata)) for r in found.body.answers)
    return sorted(dns.text(r.rdata) for r in found.body.answers)


WEB = "web.default.svc.cluster.local"


async def step() -> None:
    """What is ready runs, as it would before the next datagram is read."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_answers_change_with_the_endpoints(
    store: objects.Objects, zone: dns_zone.Zone
) -> None:
    await store.create("services", service("web", clusterIP="None"))
    assert look(zone, WEB) == dns.NXDOMAIN
    one, two = endpoint("10.42.0.5", hostname="a"), endpoint("10.42.0.6")
    await put_slice(store, "web-1", "web", one)
    await step()
    assert look(zone, WEB) == ["10.42.0.5"]
    assert look(zone, f"a.{WEB}") == ["10.42.0.5"]
    await put_slice(store, "web-2", "web", two)
    await step()
    assert look(zone, WEB) == ["10.42.0.5", "10.42.0.6"]
    await put_slice(store, "web-1", "web", endpoint("10.42.0.5", ready=False))
    await step()
    assert look(zone, WEB) == ["10.42.0.6"]
    assert look(zone, "5.0.42.10.in-addr.arpa", dns.PTR) == dns.NXDOMAIN
    await store.delete(SLICES, "default", "web-2")
    await step()
    assert look(zone, WEB) == dns.NXDOMAIN


async def test_a_service_comes_and_goes(store: objects.Objects, zone: dns_zone.Zone) -> None:
    made = await store.create("services", service("web"))
    ip = made.decode()["spec"]["clusterIP"]
    await step()
    assert look(zone, WEB) == [ip]
    assert look(zone, ipaddress.ip_address(ip).reverse_pointer, dns.PTR) == [WEB]
    await store.delete("services", "default", "web")
    await step()
    assert look(zone, WEB) == dns.NXDOMAIN


async def test_slices_may_come_before_their_service_and_change_hands(
    store: objects.Objects, zone: dns_zone.Zone
) -> None:
    await put_slice(store, "s", "first", endpoint("10.42.0.5"))
    for name in ("first", "second"):
        await store.create("services", service(name, clusterIP="None"))
    await step()
    assert look(zone, "first.default.svc.cluster.local") == ["10.42.0.5"]
    await put_slice(store, "s", "second", endpoint("10.42.0.5"))
    await step()
    assert look(zone, "first.default.svc.cluster.local") == dns.NXDOMAIN
    assert look(zone, "second.default.svc.cluster.local") == ["10.42.0.5"]


async def test_a_namespace_exists_while_the_store_has_it(
    store: objects.Objects, zone: dns_zone.Zone
) -> None:
    name = "10-42-0-9.lab.pod.cluster.local"
    assert look(zone, name) == dns.NXDOMAIN
    await store.create("namespaces", stores.namespace("lab"))
    await step()
    assert look(zone, name) == ["10.42.0.9"]


async def test_what_was_there_before_is_known_at_once(store: objects.Objects) -> None:
    await store.create("services", service("web", clusterIP="None"))
    await put_slice(store, "web-1", "web", endpoint("10.42.0.5"))
    async with following(store) as zone:
        assert look(zone, WEB) == ["10.42.0.5"]
        assert look(zone, "default.svc.cluster.local") == []


async def test_a_watch_that_falls_behind_lists_again(
    store: objects.Objects, zone: dns_zone.Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More happens between two steps than the history holds."""
    await store.create("services", service("web", clusterIP="None"))
    await put_slice(store, "gone", "web", endpoint("10.42.0.5"))
    await put_slice(store, "stays", "web", endpoint("10.42.0.6"))
    await step()
    monkeypatch.setattr(watch, "_MAX_EVENTS", 1)
    # Managed slices are told of without waiting for the medium, so nobody else runs in between.
    await put_slice(store, "stays", "web", endpoint("10.42.0.7"))
    await store.delete(SLICES, "default", "gone")
    await put_slice(store, "new", "web", endpoint("10.42.0.8"))
    assert look(zone, WEB) == ["10.42.0.5", "10.42.0.6"]
    await step()
    assert look(zone, WEB) == ["10.42.0.7", "10.42.0.8"]


async def test_one_change_costs_the_same_among_many(
    store: objects.Objects, zone: dns_zone.Zone
) -> None:
    async def cost() -> float:
        taken = []
        for number in range(30):
            await put_slice(store, "web-1", "web", endpoint(f"10.42.0.{5 + number % 2}"))
            started = time.perf_counter()
            await step()
            taken.append(time.perf_counter() - started)
            assert look(zone, WEB) == [f"10.42.0.{5 + number % 2}"]
        return sorted(taken)[len(taken) // 2]

    await store.create("services", service("web", clusterIP="None"))
    few = await cost()
    await asyncio.gather(*(store.create("services", service(f"s{n}")) for n in range(500)))
    await step()
    assert await cost() < 5 * few + 0.001
