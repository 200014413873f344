"""Deployments become pods, roll, scale and go back."""

from __future__ import annotations

import functools
from typing import Any

from edgeorch.core import revisions
from tests.component.controllers import conftest
from tests.component.controllers.conftest import Device, deployment

Object = dict[str, Any]


def ready(device: Device, image: str = "web:1") -> list[Object]:
    return [
        pod
        for pod in device.all("pods", app="web")
        if pod["spec"]["containers"][0]["image"] == image
        and not pod["metadata"].get("deletionTimestamp")
        and any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in pod["status"].get("conditions", [])
        )
    ]


def conditions(device: Device) -> dict[str, Object]:
    status = device.get("deployments.apps", "web").get("status", {})
    return {each["type"]: each for each in status.get("conditions", [])}


def is_complete(device: Device, replicas: int, image: str = "web:1") -> bool:
    found = device.get("deployments.apps", "web")
    status = found["status"]
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
        and len(ready(device, image)) == replicas
        and conditions(device)["Progressing"]["reason"] == "NewReplicaSetAvailable"
    )


async def deployed(device: Device, replicas: int = 3, **spec: Any) -> None:
    await device.store.create("deployments.apps", deployment(replicas=replicas, **spec))
    await device.until(lambda: is_complete(device, replicas), "deployed")


def to_image(image: str) -> Any:
    def change(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return change


def to_size(replicas: int) -> Any:
    def change(obj: Object) -> None:
        obj["spec"]["replicas"] = replicas

    return change


async def test_a_deployment_becomes_ready_pods(device: Device) -> None:
    await deployed(device)
    (owner,) = device.all("replicasets.apps")
    name = owner["metadata"]["name"]
    assert owner["metadata"]["annotations"][revisions.REVISION] == "1"
    assert owner["metadata"]["annotations"][revisions.DESIRED] == "3"
    assert owner["metadata"]["annotations"][revisions.MAX] == "4"
    for pod in device.all("pods"):
        (ref,) = pod["metadata"]["ownerReferences"]
        assert (ref["kind"], ref["name"], ref["controller"]) == ("ReplicaSet", name, True)
        assert pod["metadata"]["name"].startswith(f"{name}-")
        assert pod["metadata"]["labels"]["pod-template-hash"] == name.removeprefix("web-")
        assert pod["spec"]["nodeName"] == conftest.NODE
    found = device.get("deployments.apps", "web")
    assert found["metadata"]["annotations"][revisions.REVISION] == "1"
    assert found["metadata"]["generation"] == 1
    assert conditions(device)["Available"]["reason"] == "MinimumReplicasAvailable"
    message = conditions(device)["Progressing"]["message"]
    assert message == f'ReplicaSet "{name}" has successfully progressed.'
    assert device.messages("ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 3"]
    created = {f"Created pod: {pod['metadata']['name']}" for pod in device.all("pods")}
    assert set(device.messages("SuccessfulCreate")) == created


async def test_a_deleted_pod_is_replaced(device: Device) -> None:
    await deployed(device)
    first = ready(device)[0]["metadata"]["name"]
    await device.store.delete("pods", "default", first)
    await device.until(
        lambda: len(ready(device)) == 3 and device.find("pods", first) is None, "replaced"
    )
    assert len(device.all("pods")) == 3


async def test_a_failed_pod_is_replaced_and_kept(device: Device) -> None:
    await deployed(device)
    first = ready(device)[0]["metadata"]["name"]
    await device.agent.report("default", first, ready=False, phase="Failed")
    await device.until(lambda: len(ready(device)) == 3, "replaced")
    assert device.get("pods", first)["status"]["phase"] == "Failed"


async def test_scaling_up_and_down(device: Device) -> None:
    await deployed(device)
    await device.edit("deployments.apps", "web", to_size(5))
    await device.until(lambda: is_complete(device, 5), "five")
    await device.edit("deployments.apps", "web", to_size(2))
    await device.until(lambda: is_complete(device, 2), "two")
    (owner,) = device.all("replicasets.apps")
    name = owner["metadata"]["name"]
    assert set(device.messages("ScalingReplicaSet")) == {
        f"Scaled up replica set {name} from 0 to 3",
        f"Scaled up replica set {name} from 3 to 5",
        f"Scaled down replica set {name} from 5 to 2",
    }
    assert len(device.messages("SuccessfulDelete")) == 3


async def test_scaling_to_nothing_and_back(device: Device) -> None:
    await deployed(device)
    await device.edit("deployments.apps", "web", to_size(0))
    await device.until(lambda: not device.all("pods") and is_complete(device, 0), "none")
    await device.edit("deployments.apps", "web", to_size(1))
    await device.until(lambda: is_complete(device, 1), "one")


async def test_a_rolling_update_stays_within_its_bounds(device: Device) -> None:
    await deployed(device, 4)
    seen: list[tuple[int, int]] = []

    def watch_bounds() -> bool:
        active = [p for p in device.all("pods") if not p["metadata"].get("deletionTimestamp")]
        seen.append((len(active), len(ready(device)) + len(ready(device, "web:2"))))
        return is_complete(device, 4, "web:2")

    await device.edit("deployments.apps", "web", to_image("web:2"))
    await device.until(watch_bounds, "rolled")
    assert max(total for total, _ in seen) <= 5
    assert min(available for _, available in seen) >= 3
    old, new = sorted(device.all("replicasets.apps"), key=lambda rs: int(rs["spec"]["replicas"]))
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, 4)
    assert new["metadata"]["annotations"][revisions.REVISION] == "2"
    assert (
        device.get("deployments.apps", "web")["metadata"]["annotations"][revisions.REVISION] == "2"
    )


async def test_undo_reuses_the_old_replica_set(device: Device) -> None:
    await deployed(device)
    (first,) = device.all("replicasets.apps")
    await device.edit("deployments.apps", "web", to_image("web:2"))
    await device.until(lambda: is_complete(device, 3, "web:2"), "rolled")
    await device.edit("deployments.apps", "web", to_image("web:1"))
    await device.until(lambda: is_complete(device, 3, "web:1"), "back")
    assert len(device.all("replicasets.apps")) == 2
    again = device.get("replicasets.apps", first["metadata"]["name"])
    assert again["spec"]["replicas"] == 3
    assert again["metadata"]["annotations"][revisions.REVISION] == "3"
    assert again["metadata"]["annotations"][revisions.HISTORY] == "1"


async def test_recreate_stops_the_old_before_it_starts_the_new(device: Device) -> None:
    await deployed(device, strategy={"type": "Recreate"})
    mixed: list[bool] = []

    def watch_mix() -> bool:
        images = {p["spec"]["containers"][0]["image"] for p in device.all("pods")}
        mixed.append(len(images) > 1)
        return is_complete(device, 3, "web:2")

    await device.edit("deployments.apps", "web", to_image("web:2"))
    await device.until(watch_mix, "recreated")
    assert not any(mixed)


async def test_a_paused_deployment_waits(device: Device) -> None:
    await deployed(device)

    def pause(obj: Object) -> None:
        obj["spec"]["paused"] = True
        to_image("web:2")(obj)

    await device.edit("deployments.apps", "web", pause)
    await device.until(
        lambda: conditions(device)["Progressing"]["reason"] == "DeploymentPaused", "paused"
    )
    assert len(device.all("replicasets.apps")) == 1
    await device.edit("deployments.apps", "web", to_size(4))
    await device.until(lambda: len(ready(device)) == 4, "scaled while paused")
    await device.edit("deployments.apps", "web", lambda obj: obj["spec"].pop("paused"))
    await device.until(lambda: is_complete(device, 4, "web:2"), "rolled after all")


async def test_a_rollout_that_makes_no_progress_is_overdue(device: Device) -> None:
    await deployed(device)
    device.agent.makes_ready = False
    await device.edit(
        "deployments.apps", "web", lambda obj: obj["spec"].update(progressDeadlineSeconds=1)
    )
    await device.edit("deployments.apps", "web", to_image("web:none"))
    await device.until(
        lambda: conditions(device)["Progressing"]["reason"] == "ProgressDeadlineExceeded",
        "overdue",
    )
    progress = conditions(device)["Progressing"]
    assert progress["status"] == "False"
    assert progress["message"].endswith(" has timed out progressing.")
    assert len(ready(device)) == 3
    device.agent.makes_ready = True
    await device.edit("deployments.apps", "web", to_image("web:3"))
    await device.until(lambda: is_complete(device, 3, "web:3"), "mended")


async def test_min_ready_seconds_hold_a_rollout_back(device: Device) -> None:
    await device.store.create("deployments.apps", deployment(minReadySeconds=1))
    await device.until(lambda: len(ready(device)) == 3, "ready")
    status = device.get("deployments.apps", "web")["status"]
    assert status.get("availableReplicas", 0) == 0
    await device.until(lambda: is_complete(device, 3), "available")


async def test_old_revisions_beyond_the_limit_are_deleted(device: Device) -> None:
    await deployed(device, 1, revisionHistoryLimit=1)
    for number in range(2, 5):
        image = f"web:{number}"
        await device.edit("deployments.apps", "web", to_image(image))
        await device.until(functools.partial(is_complete, device, 1, image), "rolled")
    await device.until(lambda: len(device.all("replicasets.apps")) == 2, "cleaned up")
    kept = {
        rs["metadata"]["annotations"][revisions.REVISION] for rs in device.all("replicasets.apps")
    }
    assert kept == {"3", "4"}


async def test_deleting_a_deployment_deletes_its_pods(device: Device) -> None:
    await deployed(device)
    await device.store.delete("deployments.apps", "default", "web")
    await device.until(
        lambda: not device.all("replicasets.apps") and not device.all("pods"), "all gone"
    )


async def test_a_name_that_is_taken_changes_the_hash(device: Device) -> None:
    await deployed(device)
    (first,) = device.all("replicasets.apps")
    name = first["metadata"]["name"]
    await device.store.delete("deployments.apps", "default", "web", {"propagationPolicy": "Orphan"})
    await device.until(lambda: device.find("deployments.apps", "web") is None, "orphaned")
    other = {**first, "metadata": {"name": name, "namespace": "default", "labels": {"x": "y"}}}
    await device.store.delete("replicasets.apps", "default", name)
    await device.until(lambda: not device.all("pods"), "gone")
    other["spec"] = {
        "replicas": 0,
        "selector": {"matchLabels": {"x": "y"}},
        "template": {**conftest.template(), "metadata": {"labels": {"x": "y"}}},
    }
    await device.store.create("replicasets.apps", other)
    await deployed(device)
    assert device.get("deployments.apps", "web")["status"]["collisionCount"] == 1


async def test_orphaned_replica_sets_and_pods_are_adopted(device: Device) -> None:
    await deployed(device)
    before = {pod["metadata"]["uid"] for pod in device.all("pods")}
    orphan = {"propagationPolicy": "Orphan"}
    await device.store.delete("deployments.apps", "default", "web", orphan)
    await device.until(lambda: device.find("deployments.apps", "web") is None, "orphaned")
    (left,) = device.all("replicasets.apps")
    assert not left["metadata"].get("ownerReferences")
    await deployed(device)
    assert {pod["metadata"]["uid"] for pod in device.all("pods")} == before
    (owner,) = device.all("replicasets.apps")
    assert owner["metadata"]["ownerReferences"][0]["name"] == "web"


async def test_a_relabelled_pod_is_released_and_replaced(device: Device) -> None:
    await deployed(device)
    name = ready(device)[0]["metadata"]["name"]
    await device.edit("pods", name, lambda obj: obj["metadata"]["labels"].update(app="debug"))
    await device.until(lambda: len(ready(device)) == 3, "replaced")
    assert not device.get("pods", name)["metadata"].get("ownerReferences")
