"""Namespaces exist from the start, are furnished, and take their contents along."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from edgeorch.core import namespaces
from edgeorch.model import errors
from tests.component.controllers.conftest import Device, config_map, deployment, running

Object = dict[str, Any]
NEW = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}


def phase(device: Device) -> str:
    found = device.find("namespaces", "shop", "")
    return found["status"]["phase"] if found is not None else ""


async def test_built_in_namespaces_are_furnished(device: Device) -> None:
    def furnished() -> bool:
        return all(
            device.find("serviceaccounts", "default", name)
            and device.find("configmaps", "kube-root-ca.crt", name)
            for name in namespaces.BUILT_IN
        )

    await device.until(furnished, "all four")
    assert device.get("configmaps", "kube-root-ca.crt")["data"] == {"ca.crt": "a certificate"}


async def test_what_is_taken_from_a_namespace_comes_back(device: Device) -> None:
    await device.until(lambda: device.find("serviceaccounts", "default"), "an account")
    await device.store.delete("serviceaccounts", "default", "default")
    await device.until(lambda: device.find("serviceaccounts", "default"), "again")


async def test_deleting_a_namespace_deletes_everything_in_it(device: Device) -> None:
    await device.store.create("namespaces", {**NEW})
    made = deployment()
    made["metadata"]["namespace"] = "shop"
    await device.store.create("deployments.apps", made)
    await device.until(lambda: len(device.all("pods", "shop")) == 3, "pods")
    await device.store.delete("namespaces", "", "shop")
    assert phase(device) == "Terminating"
    await device.until(lambda: device.find("namespaces", "shop", "") is None, "gone")
    for kind in device.store.registry:
        if kind.namespaced:
            assert not device.all(kind.resource, "shop"), kind


async def test_a_namespace_says_what_it_waits_for(device: Device) -> None:
    await device.store.create("namespaces", {**NEW})
    held = config_map("held", finalizers=["example.com/hold"])
    held["metadata"]["namespace"] = "shop"
    await device.store.create("configmaps", held)
    await device.store.delete("namespaces", "", "shop")

    def remaining() -> Object | None:
        found = device.get("namespaces", "shop", "")["status"].get("conditions", [])
        return next((c for c in found if c["type"] == "NamespaceFinalizersRemaining"), None)

    said = await device.until(remaining, "a condition")
    assert said["status"] == "True"
    assert said["message"] == (
        "Some content in the namespace has finalizers remaining: "
        "example.com/hold in 1 resource instances"
    )
    with pytest.raises(errors.StatusError, match="because it is being terminated"):
        await device.store.create(
            "configmaps", {**held, "metadata": {**held["metadata"], "name": "new"}}
        )
    await device.store.update(
        "configmaps",
        "shop",
        "held",
        lambda obj: {**obj, "metadata": {**obj["metadata"], "finalizers": []}},
    )
    await device.until(lambda: device.find("namespaces", "shop", "") is None, "gone")


async def test_a_restart_in_the_middle_goes_on(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.db"
    async with running(path) as device:
        await device.until(lambda: device.find("namespaces", "default", ""), "a namespace")
        await device.store.create("namespaces", {**NEW})
        held = config_map("held", finalizers=["example.com/hold"])
        held["metadata"]["namespace"] = "shop"
        await device.store.create("configmaps", held)
        await device.store.delete("namespaces", "", "shop")
    async with running(path) as device:
        await device.store.update(
            "configmaps",
            "shop",
            "held",
            lambda obj: {**obj, "metadata": {**obj["metadata"], "finalizers": []}},
        )
        await device.until(lambda: device.find("namespaces", "shop", "") is None, "gone")
