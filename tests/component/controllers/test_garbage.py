"""Owner references: background, foreground and orphan, absent owners, cycles."""

from __future__ import annotations

from typing import Any

import pytest

from tests.component.controllers.conftest import Device, config_map

MAPS = "configmaps"


async def family(device: Device, **child: Any) -> None:
    parent = await device.store.create(MAPS, config_map("parent"))
    await device.store.create(MAPS, config_map("child", parent.decode(), **child))
    grandparent = device.get(MAPS, "child")
    await device.store.create(MAPS, config_map("grandchild", grandparent))


def names(device: Device) -> set[str]:
    found = {each["metadata"]["name"] for each in device.all(MAPS)}
    return found & {"parent", "child", "grandchild", "other", "one", "two"}


async def delete(device: Device, name: str, policy: str) -> None:
    await device.store.delete(MAPS, "default", name, {"propagationPolicy": policy})


async def test_background_deletes_what_is_owned(device: Device) -> None:
    await family(device)
    await delete(device, "parent", "Background")
    assert "parent" not in names(device)
    await device.until(lambda: not names(device), "gone")


async def test_foreground_deletes_the_owner_last(device: Device) -> None:
    await family(device, finalizers=["example.com/hold"])
    await delete(device, "parent", "Foreground")
    await device.until(
        lambda: device.get(MAPS, "child")["metadata"].get("deletionTimestamp"), "child deleted"
    )
    assert "parent" in names(device)
    await device.edit(
        MAPS,
        "child",
        lambda obj: obj["metadata"].update(
            finalizers=[f for f in obj["metadata"]["finalizers"] if f != "example.com/hold"]
        ),
    )
    await device.until(lambda: not names(device), "gone")


async def test_orphans_live_on_without_their_owner(device: Device) -> None:
    await family(device)
    await delete(device, "parent", "Orphan")
    await device.until(lambda: "parent" not in names(device), "gone")
    assert names(device) == {"child", "grandchild"}
    assert not device.get(MAPS, "child")["metadata"].get("ownerReferences")


async def test_one_of_two_owners_is_enough(device: Device) -> None:
    one = (await device.store.create(MAPS, config_map("one"))).decode()
    two = (await device.store.create(MAPS, config_map("two"))).decode()
    await device.store.create(MAPS, config_map("child", one, two))
    await delete(device, "one", "Background")
    await device.until(
        lambda: len(device.get(MAPS, "child")["metadata"]["ownerReferences"]) == 1, "dropped"
    )
    assert names(device) == {"two", "child"}
    await delete(device, "two", "Background")
    await device.until(lambda: not names(device), "gone")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_cycle_goes_as_a_whole(device: Device, policy: str) -> None:
    one = (await device.store.create(MAPS, config_map("one"))).decode()
    two = (await device.store.create(MAPS, config_map("two", one))).decode()

    def close(obj: dict[str, Any]) -> None:
        refs = config_map("one", two)["metadata"]["ownerReferences"]
        obj["metadata"]["ownerReferences"] = refs

    await device.edit(MAPS, "one", close)
    await delete(device, "one", policy)
    await device.until(lambda: not names(device), "gone")


async def test_an_owner_that_never_was_counts_as_gone(device: Device) -> None:
    parent = (await device.store.create(MAPS, config_map("parent"))).decode()
    stranger = {**parent, "metadata": {**parent["metadata"], "uid": "another"}}
    await device.store.create(MAPS, config_map("child", stranger))
    await device.until(lambda: names(device) == {"parent"}, "deleted")


async def test_an_owner_in_another_namespace_is_none(device: Device) -> None:
    await device.until(lambda: device.store.find("namespaces", "", "kube-public"), "namespaces")
    made = config_map("parent")
    made["metadata"]["namespace"] = "kube-public"
    parent = (await device.store.create(MAPS, made)).decode()
    await device.store.create(MAPS, config_map("child", parent))
    await device.until(lambda: not names(device), "deleted")
    assert device.find(MAPS, "parent", "kube-public") is not None


async def test_an_owner_of_an_unknown_kind_is_left_alone(device: Device) -> None:
    foreign = {"apiVersion": "example.com/v1", "kind": "Thing"}
    foreign["metadata"] = {"name": "x", "uid": "x"}  # type: ignore[assignment]
    await device.store.create(MAPS, config_map("other", foreign))
    await family(device)
    await delete(device, "parent", "Background")
    await device.until(lambda: names(device) == {"other"}, "only the family")
