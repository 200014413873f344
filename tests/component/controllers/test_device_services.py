"""The Services that lead to the device's own API and DNS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import pathlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.controllers import device_services
from edgeorch.lib import tasks
from edgeorch.proxy import allocation
from edgeorch.store import objects
from tests.component.controllers import conftest
from tests.component.store import conftest as stores

SLICES = "endpointslices.discovery.k8s.io"


@contextlib.asynccontextmanager
async def published(
    store: objects.Objects, cidr: str = "10.43.0.0/16"
) -> AsyncIterator[device_services.DeviceServices]:
    store.allocate_with(
        "services", allocation.ServiceAllocator(cidr, (30000, 32767), random.Random(1).randrange)
    )
    dns = cidr.replace("0.0/16", "0.10")
    made = device_services.DeviceServices(
        store, [device_services.api(6443), device_services.dns(dns)]
    )
    made.move(device_services.DNS, "10.42.0.1")
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await tasks.cancel_and_wait(running)


@pytest.fixture
async def device(tmp_path: pathlib.Path) -> AsyncIterator[conftest.Device]:
    """Only a store with the namespaces in it."""
    async with stores.opened(tmp_path / "state.db") as store:
        for name in ("default", "kube-system"):
            await store.create("namespaces", stores.namespace(name))
        yield conftest.Device(store, None)  # type: ignore[arg-type]


def found(device: conftest.Device, resource: str, key: tuple[str, str]) -> dict[str, Any]:
    obj = device.find(resource, key[1], key[0])
    return obj or {}


def targets(device: conftest.Device, key: tuple[str, str]) -> list[str]:
    ends = found(device, SLICES, key).get("endpoints") or []
    return [ip for end in ends for ip in end["addresses"]]


def _leads_to(device: conftest.Device, address: str) -> bool:
    return targets(device, device_services.API) == [address]


async def test_dns_has_its_service_at_the_tenth_address(device: conftest.Device) -> None:
    async with published(device.store):
        await device.until(lambda: targets(device, device_services.DNS), "the slice")
        made = found(device, "services", device_services.DNS)
        assert made["spec"]["clusterIP"] == "10.43.0.10"
        assert "selector" not in made["spec"]
        ports = [(p["name"], p["protocol"], p["port"]) for p in made["spec"]["ports"]]
        assert ports == [("dns", "UDP", 53), ("dns-tcp", "TCP", 53)]
        assert made["metadata"]["labels"]["k8s-app"] == "kube-dns"
        assert targets(device, device_services.DNS) == ["10.42.0.1"]
        (subset,) = found(device, "endpoints", device_services.DNS)["subsets"]
        assert subset["addresses"] == [{"ip": "10.42.0.1"}]


async def test_the_api_follows_the_nodes_address(device: conftest.Device) -> None:
    async with published(device.store) as services:
        await device.until(lambda: found(device, SLICES, device_services.API), "the slice")
        assert targets(device, device_services.API) == []
        assert found(device, "services", device_services.API)["spec"]["clusterIP"] == "10.43.0.1"
        for address in ("192.0.2.10", "192.0.2.11"):
            services.move(device_services.API, address)
            moved = functools.partial(_leads_to, device, address)
            await device.until(moved, "the move")
        assert services.health() is None


async def test_nothing_is_written_when_nothing_has_changed(device: conftest.Device) -> None:
    async with published(device.store) as services:
        await device.until(lambda: targets(device, device_services.DNS), "the slice")
        await services.ensure(device_services.dns("10.43.0.10"))
        before = device.store.version
        await services.ensure(device_services.dns("10.43.0.10"))
        assert device.store.version == before


@pytest.mark.parametrize("resource", ["services", "endpoints", SLICES])
async def test_what_is_deleted_comes_back(device: conftest.Device, resource: str) -> None:
    async with published(device.store):
        await device.until(lambda: targets(device, device_services.DNS), "the slice")
        uid = found(device, resource, device_services.DNS)["metadata"]["uid"]
        await device.store.delete(resource, *device_services.DNS)

        def is_new() -> bool:
            obj = found(device, resource, device_services.DNS)
            return bool(obj) and obj["metadata"]["uid"] != uid

        await device.until(is_new, "another one")


async def test_labels_of_others_stay(device: conftest.Device) -> None:
    async with published(device.store):
        await device.until(lambda: targets(device, device_services.DNS), "the slice")

        def change(obj: dict[str, Any]) -> dict[str, Any]:
            obj["metadata"]["labels"]["mine"] = "yes"
            obj["spec"]["ports"][0]["port"] = 5353
            return obj

        await device.store.update("services", *device_services.DNS, change)

        def ports() -> list[int]:
            made = found(device, "services", device_services.DNS)
            return [port["port"] for port in made["spec"]["ports"]]

        await device.until(lambda: ports() == [53, 53], "the ports")
        labels = found(device, "services", device_services.DNS)["metadata"]["labels"]
        assert labels["mine"] == "yes"


async def test_another_range_moves_it(device: conftest.Device) -> None:
    async with published(device.store):
        await device.until(lambda: targets(device, device_services.DNS), "the slice")
    async with published(device.store, "10.44.0.0/16"):
        await device.until(
            lambda: (
                found(device, "services", device_services.DNS).get("spec", {}).get("clusterIP")
                == "10.44.0.10"
            ),
            "the new address",
        )


async def test_a_taken_address_is_told_and_had_when_it_is_free(device: conftest.Device) -> None:
    thief = conftest.service("thief", clusterIP="10.43.0.10")
    device.store.allocate_with(
        "services",
        allocation.ServiceAllocator("10.43.0.0/16", (30000, 32767), random.Random(1).randrange),
    )
    made = device_services.DeviceServices(
        device.store, [device_services.api(6443), device_services.dns("10.43.0.10")]
    )
    await device.store.create("services", thief)
    running = asyncio.create_task(made.run())
    try:
        await device.until(lambda: "provided IP is already" in (made.health() or ""), "the clash")
        assert found(device, "services", device_services.API)
        await device.store.delete("services", "default", "thief")
        await device.until(lambda: found(device, "services", device_services.DNS), "the Service")
        await device.until(lambda: made.health() is None, "health")
    finally:
        await tasks.cancel_and_wait(running)


async def test_a_service_waits_for_its_namespace(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stores.opened(tmp_path / "state.db") as store, published(store) as services:
        device = conftest.Device(store, None)  # type: ignore[arg-type]
        await store.create("namespaces", stores.namespace("kube-system"))
        await device.until(lambda: targets(device, device_services.DNS), "the DNS Service")
        assert not found(device, "services", device_services.API)
        await store.create("namespaces", stores.namespace("default"))
        await device.until(lambda: found(device, SLICES, device_services.API), "the API Service")
        assert services.health() is None
    assert "cannot publish" not in caplog.text
