"""StatefulSets make, roll and give up their pods in order, with claims and a history."""

from __future__ import annotations

import pathlib
from typing import Any

from tests.component.controllers import conftest
from tests.component.controllers.conftest import Device, template

Object = dict[str, Any]
RESOURCE = "statefulsets.apps"


def stateful_set(replicas: int = 3, **spec: Any) -> Object:
    body = {
        "replicas": replicas,
        "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
    }
    meta = {"name": "web", "namespace": "default"}
    kind = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    return {**kind, "metadata": meta, "spec": {**body, **spec}}


def claims(**policy: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": spec}],
        "persistentVolumeClaimRetentionPolicy": policy,
    }


def is_complete(device: Device, replicas: int, image: str = "web:1") -> bool:
    found = device.get(RESOURCE, "web")
    status = found.get("status") or {}
    pods = device.all("pods")
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("availableReplicas") == replicas
        and status.get("updatedReplicas", 0) == replicas
        and status["currentRevision"] == status["updateRevision"]
        and [pod["metadata"]["name"] for pod in pods] == [f"web-{n}" for n in range(replicas)]
        and all(pod["spec"]["containers"][0]["image"] == image for pod in pods)
    )


async def deployed(device: Device, replicas: int = 3, **spec: Any) -> None:
    await device.store.create(RESOURCE, stateful_set(replicas, **spec))
    await device.until(lambda: is_complete(device, replicas), "deployed")


def to_image(image: str) -> Any:
    def change(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return change


def to_size(replicas: int) -> Any:
    def change(obj: Object) -> None:
        obj["spec"]["replicas"] = replicas

    return change


async def test_pods_come_in_order_and_are_who_they_are(device: Device) -> None:
    await deployed(device)
    assert device.messages("SuccessfulCreate") == [
        f"create Pod web-{n} in StatefulSet web successful" for n in range(3)
    ]
    pod = device.get("pods", "web-1")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-1", "web")
    labels = pod["metadata"]["labels"]
    assert labels["statefulset.kubernetes.io/pod-name"] == "web-1"
    assert labels["apps.kubernetes.io/pod-index"] == "1"
    (revision,) = device.all("controllerrevisions.apps")
    assert labels["controller-revision-hash"] == revision["metadata"]["name"]
    assert device.get(RESOURCE, "web")["status"]["currentRevision"] == revision["metadata"]["name"]


async def test_the_next_waits_until_the_one_before_is_ready(device: Device) -> None:
    device.agent.makes_ready = False
    await device.store.create(RESOURCE, stateful_set(2))
    await device.until(lambda: device.find("pods", "web-0"), "the first")
    bound = lambda: device.get("pods", "web-0")["spec"].get("nodeName")  # noqa: E731
    await device.until(bound, "bound")
    assert device.find("pods", "web-1") is None
    await device.agent.report("default", "web-0", ready=True)
    await device.until(lambda: device.find("pods", "web-1"), "the second")


async def test_a_lost_pod_comes_back_under_its_name(device: Device) -> None:
    await deployed(device)
    uid = device.get("pods", "web-1")["metadata"]["uid"]
    await device.store.delete("pods", "default", "web-1")
    await device.until(
        lambda: is_complete(device, 3) and device.get("pods", "web-1")["metadata"]["uid"] != uid,
        "back",
    )


async def test_scaling_gives_up_the_last_and_keeps_their_claims(device: Device) -> None:
    await deployed(device, 3, **claims())
    names = [each["metadata"]["name"] for each in device.all("persistentvolumeclaims")]
    assert names == ["data-web-0", "data-web-1", "data-web-2"]
    assert "create Claim data-web-0 Pod web-0 in StatefulSet web success" in device.messages(
        "SuccessfulCreate"
    )
    await device.edit(RESOURCE, "web", to_size(1))
    await device.until(lambda: is_complete(device, 1), "one")
    assert device.messages("SuccessfulDelete") == [
        "delete Pod web-2 in StatefulSet web successful",
        "delete Pod web-1 in StatefulSet web successful",
    ]
    assert len(device.all("persistentvolumeclaims")) == 3
    await device.edit(RESOURCE, "web", to_size(2))
    await device.until(lambda: is_complete(device, 2), "two")
    assert len(device.all("persistentvolumeclaims")) == 3


async def test_claims_go_with_their_pod_or_their_set(device: Device) -> None:
    await deployed(device, 3, **claims(whenScaled="Delete", whenDeleted="Delete"))
    await device.edit(RESOURCE, "web", to_size(1))
    await device.until(
        lambda: is_complete(device, 1) and len(device.all("persistentvolumeclaims")) == 1,
        "claims of scaled pods gone",
    )
    await device.store.delete(RESOURCE, "default", "web")
    await device.until(
        lambda: not device.all("pods") and not device.all("persistentvolumeclaims"), "all gone"
    )
    await device.until(lambda: not device.all("controllerrevisions.apps"), "history gone")


async def test_a_rolling_update_goes_from_the_last_to_the_first(device: Device) -> None:
    await deployed(device)
    order: list[str] = []

    def watch_order() -> bool:
        for pod in device.all("pods"):
            name = pod["metadata"]["name"]
            if pod["spec"]["containers"][0]["image"] == "web:2" and name not in order:
                order.append(name)
        return is_complete(device, 3, "web:2")

    await device.edit(RESOURCE, "web", to_image("web:2"))
    await device.until(watch_order, "rolled")
    assert order == ["web-2", "web-1", "web-0"]
    assert [each["revision"] for each in device.all("controllerrevisions.apps")] != [1, 1]


async def test_a_partition_keeps_the_lower_ones(device: Device) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await deployed(device, 3, updateStrategy=strategy)
    await device.edit(RESOURCE, "web", to_image("web:2"))

    def images() -> list[str]:
        return [pod["spec"]["containers"][0]["image"] for pod in device.all("pods")]

    await device.until(lambda: images() == ["web:1", "web:1", "web:2"], "the last one rolled")
    await device.store.delete("pods", "default", "web-0")
    await device.until(lambda: len(images()) == 3, "back")
    assert images() == ["web:1", "web:1", "web:2"]
    status = device.get(RESOURCE, "web")["status"]
    assert status["currentRevision"] != status["updateRevision"]


async def test_going_back_numbers_the_old_revision_anew(device: Device) -> None:
    await deployed(device, 1)
    await device.edit(RESOURCE, "web", to_image("web:2"))
    await device.until(lambda: is_complete(device, 1, "web:2"), "two")
    await device.edit(RESOURCE, "web", to_image("web:1"))
    await device.until(lambda: is_complete(device, 1, "web:1"), "one again")
    numbers = sorted(each["revision"] for each in device.all("controllerrevisions.apps"))
    assert numbers == [2, 3]


async def test_history_is_cut(device: Device) -> None:
    await deployed(device, 1, revisionHistoryLimit=1)
    for n in (2, 3, 4):
        await device.edit(RESOURCE, "web", to_image(f"web:{n}"))
        await device.until(lambda n=n: is_complete(device, 1, f"web:{n}"), str(n))  # type: ignore[misc]
    await device.until(lambda: len(device.all("controllerrevisions.apps")) == 2, "cut")


async def test_pods_are_adopted_and_left(device: Device) -> None:
    await deployed(device, 2)
    uids = {pod["metadata"]["uid"] for pod in device.all("pods")}
    options = {"propagationPolicy": "Orphan"}
    await device.store.delete(RESOURCE, "default", "web", options)
    await device.until(lambda: device.find(RESOURCE, "web") is None, "gone")
    assert {pod["metadata"]["uid"] for pod in device.all("pods")} == uids
    await device.store.create(RESOURCE, stateful_set(2))
    await device.until(lambda: is_complete(device, 2), "adopted")
    assert {pod["metadata"]["uid"] for pod in device.all("pods")} == uids
    assert len(device.all("controllerrevisions.apps")) == 1


async def test_a_restart_changes_nothing(tmp_path: pathlib.Path) -> None:
    async with conftest.running(tmp_path / "state.db") as device:
        await device.until(lambda: device.store.find("namespaces", "", "default"), "namespace")
        await deployed(device, 2)
        uids = {pod["metadata"]["uid"] for pod in device.all("pods")}
    async with conftest.running(tmp_path / "state.db") as device:
        await device.until(lambda: is_complete(device, 2), "as before")
        assert {pod["metadata"]["uid"] for pod in device.all("pods")} == uids
