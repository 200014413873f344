"""A Deployment that asked for it goes back by itself, also after a power cut."""

from __future__ import annotations

import pathlib
from typing import Any

from edgeorch.core import rollback
from tests.component.controllers import conftest
from tests.component.controllers.conftest import Device, deployment
from tests.component.controllers.test_deployments import is_complete, to_image

Object = dict[str, Any]


def asking(**spec: Any) -> Object:
    obj = deployment(replicas=2, progressDeadlineSeconds=1, **spec)
    obj["metadata"]["annotations"] = {rollback.ANNOTATION: "true"}
    return obj


async def deployed(device: Device) -> None:
    await device.until(lambda: device.store.find("namespaces", "", "default"), "a namespace")
    await device.store.create("deployments.apps", asking())
    await device.until(lambda: is_complete(device, 2), "deployed")
    await device.until(lambda: proven(device) == ["web:1"], "known to work")


def proven(device: Device) -> list[str]:
    return [
        each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in device.all("replicasets.apps")
        if each["metadata"]["annotations"].get(rollback.PROVEN) == "true"
    ]


def image(device: Device) -> str:
    found = device.get("deployments.apps", "web")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_it_goes_back_and_says_why(device: Device) -> None:
    await deployed(device)
    device.agent.makes_ready = False
    await device.edit("deployments.apps", "web", to_image("web:2"))
    await device.until(lambda: is_complete(device, 2, "web:1") and image(device) == "web:1", "back")
    found = device.get("deployments.apps", "web")
    noted = found["metadata"]["annotations"]
    assert noted[rollback.FAILED_REVISION] == "2"
    (message,) = device.messages("AutoRollback")
    assert noted[rollback.REASON] == message
    conditions = {each["type"]: each for each in found["status"]["conditions"]}
    assert conditions["RolledBack"]["message"] == message


async def test_it_does_not_without_being_asked(device: Device) -> None:
    body = asking()
    body["metadata"]["annotations"] = {}
    await device.store.create("deployments.apps", body)
    await device.until(lambda: is_complete(device, 2), "deployed")
    device.agent.makes_ready = False
    await device.edit("deployments.apps", "web", to_image("web:2"))

    def late() -> bool:
        found = device.get("deployments.apps", "web")["status"]["conditions"]
        return any(each["reason"] == "ProgressDeadlineExceeded" for each in found)

    await device.until(late, "late")
    assert image(device) == "web:2"
    assert device.messages("AutoRollback") == []


async def test_a_newer_push_supersedes_it(device: Device) -> None:
    await deployed(device)
    device.agent.makes_ready = False
    await device.edit("deployments.apps", "web", to_image("web:2"))
    await device.until(lambda: device.messages("AutoRollback"), "back")
    device.agent.makes_ready = True
    await device.edit("deployments.apps", "web", to_image("web:3"))
    await device.until(lambda: is_complete(device, 2, "web:3"), "the newer one")
    found = device.get("deployments.apps", "web")["status"]["conditions"]
    assert all(each["type"] != "RolledBack" for each in found)


async def test_a_power_cut_in_the_middle_changes_nothing(tmp_path: pathlib.Path) -> None:
    async with conftest.running(tmp_path / "state.db") as device:
        await deployed(device)
        device.agent.makes_ready = False
        await device.edit("deployments.apps", "web", to_image("web:2"))
        await device.until(lambda: len(device.all("replicasets.apps")) == 2, "begun")
    async with conftest.running(tmp_path / "state.db") as device:
        device.agent.makes_ready = False
        await device.until(lambda: image(device) == "web:1", "back")
        await device.until(lambda: is_complete(device, 2, "web:1"), "complete")
        assert device.get("deployments.apps", "web")["metadata"]["annotations"][
            rollback.FAILED_REVISION
        ] == "2"  # fmt: skip
    async with conftest.running(tmp_path / "state.db") as device:
        await device.until(lambda: is_complete(device, 2, "web:1"), "still complete")
        assert device.messages("AutoRollback") == []
