"""Services have the addresses of their ready pods, at once."""

from __future__ import annotations

import time
from typing import Any

from edgeorch.core import endpoints
from tests.component.controllers.conftest import Device, config_map, pod, service

Object = dict[str, Any]
LABEL = {endpoints.SERVICE_NAME: "web"}


def slices(device: Device) -> list[Object]:
    return device.all("endpointslices.discovery.k8s.io", **LABEL)


def ready_addresses(device: Device) -> list[str]:
    return sorted(
        each["addresses"][0]
        for found in slices(device)
        for each in found["endpoints"]
        if each["conditions"]["ready"]
    )


async def exposed(device: Device, **spec: Any) -> None:
    ports = [{"name": "http", "containerPort": 8080}]
    containers = [{"name": "main", "image": "web:1", "ports": ports}]
    await device.store.create("services", service(**spec))
    for name in ("a", "b"):
        await device.store.create("pods", pod(name, containers=containers))
    await device.until(lambda: len(ready_addresses(device)) == 2, "endpoints")


async def test_a_service_gets_a_slice_and_endpoints(device: Device) -> None:
    await exposed(device)
    (found,) = slices(device)
    assert found["metadata"]["name"].startswith("web-")
    assert found["metadata"]["labels"][endpoints.MANAGED_BY] == endpoints.CONTROLLER
    assert found["addressType"] == "IPv4"
    assert found["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    first = found["endpoints"][0]
    assert first["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert (first["nodeName"], first["targetRef"]["name"]) == ("edge", "a")
    both = await device.until(lambda: device.find("endpoints", "web"), "endpoints")
    await device.until(
        lambda: len(device.get("endpoints", "web")["subsets"][0].get("addresses", [])) == 2, "both"
    )
    both = device.get("endpoints", "web")
    assert both["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    assert both["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


async def test_an_unready_pod_leaves_within_milliseconds(device: Device) -> None:
    await exposed(device)
    (before,) = slices(device)
    started = time.monotonic()
    await device.agent.report("default", "a", ready=False)
    await device.until(lambda: len(ready_addresses(device)) == 1, "one left")
    assert time.monotonic() - started < 0.1
    (after,) = slices(device)
    assert after["metadata"]["name"] == before["metadata"]["name"]
    subset = device.get("endpoints", "web")["subsets"][0]
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (1, 1)


async def test_a_terminating_pod_is_told_apart(device: Device) -> None:
    await exposed(device)
    hold = {"finalizers": ["example.com/hold"]}
    await device.edit("pods", "a", lambda obj: obj["metadata"].update(hold))
    await device.store.delete("pods", "default", "a")

    def terminating() -> list[Object]:
        found = slices(device)[0]["endpoints"]
        return [each for each in found if each["conditions"]["terminating"]]

    (entry,) = await device.until(terminating, "terminating")
    assert entry["conditions"] == {"ready": False, "serving": True, "terminating": True}
    await device.edit("pods", "a", lambda obj: obj["metadata"].pop("finalizers"))
    await device.until(lambda: len(slices(device)[0]["endpoints"]) == 1, "gone")


async def test_a_service_without_pods_has_an_empty_slice(device: Device) -> None:
    await device.store.create("services", service())
    (found,) = await device.until(lambda: slices(device), "a slice")
    assert found["endpoints"] == []
    assert "subsets" not in await device.until(lambda: device.find("endpoints", "web"), "endpoints")


async def test_a_deleted_slice_is_made_again(device: Device) -> None:
    await exposed(device)
    (found,) = slices(device)
    name = found["metadata"]["name"]
    await device.store.delete("endpointslices.discovery.k8s.io", "default", name)
    await device.until(lambda: len(ready_addresses(device)) == 2, "again")


async def test_endpoints_end_with_their_service(device: Device) -> None:
    await exposed(device)
    await device.store.delete("services", "default", "web")
    await device.until(
        lambda: not slices(device) and device.find("endpoints", "web") is None, "gone"
    )


async def test_endpoints_by_hand_are_mirrored(device: Device) -> None:
    by_hand = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"},
        },
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 1}]}],
    }
    await device.store.create("endpoints", by_hand)
    await device.store.create("services", service(selector=None))
    (found,) = await device.until(lambda: slices(device), "a mirror")
    assert found["metadata"]["annotations"] == {"a": "b"}
    assert found["metadata"]["labels"][endpoints.MANAGED_BY] == endpoints.MIRROR
    assert ready_addresses(device) == ["192.0.2.1"]

    def another(obj: Object) -> None:
        obj["subsets"][0]["addresses"] = [{"ip": "192.0.2.2"}]
        del obj["metadata"]["annotations"]

    await device.edit("endpoints", "web", another)
    await device.until(lambda: ready_addresses(device) == ["192.0.2.2"], "followed")
    assert "annotations" not in slices(device)[0]["metadata"]
    await device.store.delete("services", "default", "web")
    await device.until(lambda: not slices(device), "gone with the service")


async def test_a_change_elsewhere_wakes_nobody(device: Device) -> None:
    await exposed(device)
    (before,) = slices(device)
    await device.store.create("configmaps", config_map("unrelated"))
    await device.edit("pods", "a", lambda obj: obj["metadata"].update(annotations={"x": "y"}))
    await device.store.create("services", service("other", clusterIP="10.96.0.11"))
    await device.until(
        lambda: device.all("endpointslices.discovery.k8s.io", **{endpoints.SERVICE_NAME: "other"}),
        "the other one",
    )
    (after,) = slices(device)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_one_misfit_does_not_blind_the_others(device: Device) -> None:
    broken = service("broken", clusterIP="10.96.0.12")
    broken["metadata"]["uid"] = "broken"
    broken["spec"]["selector"] = None
    await device.store.create("services", broken)
    await exposed(device)
