"""DaemonSets, ReplicationControllers and disruption budgets on a real store."""

from __future__ import annotations

from typing import Any

from tests.component.controllers.conftest import NODE, Device, deployment, template

Object = dict[str, Any]


def daemon_set(**spec: Any) -> Object:
    body = {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}
    meta = {"name": "mon", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": body}


def is_complete(device: Device, image: str = "web:1") -> bool:
    found = device.get("daemonsets.apps", "mon")
    status = found.get("status") or {}
    pods = device.all("pods")
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedNumberScheduled") == status.get("numberAvailable") == 1
        and [pod["spec"]["containers"][0]["image"] for pod in pods] == [image]
    )


def to_image(obj: Object) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"


async def test_a_daemon_runs_also_on_a_cordoned_node(device: Device) -> None:
    await device.edit("nodes", NODE, lambda obj: obj["spec"].update(unschedulable=True))
    await device.store.create("daemonsets.apps", daemon_set())
    await device.until(lambda: is_complete(device), "deployed")
    (message,) = device.messages("SuccessfulCreate")
    assert message.startswith("Created pod: mon-")


async def test_a_daemon_comes_and_goes_with_the_label_of_the_node(device: Device) -> None:
    body = template()
    body["spec"]["nodeSelector"] = {"zone": "a"}
    await device.store.create("daemonsets.apps", daemon_set(template=body))

    def status() -> Object:
        found: Object = device.get("daemonsets.apps", "mon").get("status") or {}
        return found

    await device.until(lambda: status().get("observedGeneration") == 1, "looked at")
    assert not device.all("pods")
    await device.edit("nodes", NODE, lambda obj: obj["metadata"]["labels"].update(zone="a"))
    await device.until(lambda: is_complete(device), "there")
    await device.edit("nodes", NODE, lambda obj: obj["metadata"]["labels"].update(zone="b"))
    await device.until(lambda: not device.all("pods"), "gone")
    await device.until(lambda: status()["desiredNumberScheduled"] == 0, "status")


async def test_the_old_goes_before_the_new_comes(device: Device) -> None:
    await device.store.create("daemonsets.apps", daemon_set())
    await device.until(lambda: is_complete(device), "deployed")
    most = 0

    def rolled() -> bool:
        nonlocal most
        most = max(most, len(device.all("pods")))
        return is_complete(device, "web:2")

    await device.edit("daemonsets.apps", "mon", to_image)
    await device.until(rolled, "rolled")
    assert most == 1
    assert sorted(each["revision"] for each in device.all("controllerrevisions.apps")) == [1, 2]


async def test_with_surge_there_is_always_one(device: Device) -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    await device.store.create("daemonsets.apps", daemon_set(updateStrategy=strategy))
    await device.until(lambda: is_complete(device), "deployed")
    least = 1

    def rolled() -> bool:
        nonlocal least
        ready = [
            pod
            for pod in device.all("pods")
            if not pod["metadata"].get("deletionTimestamp")
            and any(c["status"] == "True" for c in pod["status"].get("conditions", [])
                    if c["type"] == "Ready")
        ]  # fmt: skip
        least = min(least, len(ready))
        return is_complete(device, "web:2")

    await device.edit("daemonsets.apps", "mon", to_image)
    await device.until(rolled, "rolled")
    assert least == 1


async def test_a_failed_daemon_is_replaced(device: Device) -> None:
    await device.store.create("daemonsets.apps", daemon_set())
    await device.until(lambda: is_complete(device), "deployed")
    (pod,) = device.all("pods")
    name = pod["metadata"]["name"]
    await device.agent.report("default", name, ready=False, phase="Failed")
    await device.until(
        lambda: device.find("pods", name) is None and is_complete(device), "replaced"
    )
    message = f"Found failed daemon pod default/{name} on node {NODE}, will try to kill it"
    assert device.messages("FailedDaemonPod") == [message]


async def test_a_replication_controller_keeps_its_pods(device: Device) -> None:
    meta = {"name": "web", "namespace": "default"}
    kind = {"apiVersion": "v1", "kind": "ReplicationController"}
    body = {**kind, "metadata": meta, "spec": {"replicas": 2, "template": template()}}
    await device.store.create("replicationcontrollers", body)

    def ready(count: int) -> bool:
        status = device.get("replicationcontrollers", "web").get("status") or {}
        return bool(status.get("readyReplicas", 0) == len(device.all("pods")) == count)

    await device.until(lambda: ready(2), "two")
    await device.store.delete("pods", "default", device.all("pods")[0]["metadata"]["name"])
    await device.until(lambda: ready(2), "two again")
    resize = lambda obj: obj["spec"].update(replicas=1)  # noqa: E731
    await device.edit("replicationcontrollers", "web", resize)
    await device.until(lambda: ready(1), "one")
    assert "terminatingReplicas" not in device.get("replicationcontrollers", "web")["status"]


async def test_a_budget_counts_what_a_deployment_should_have(device: Device) -> None:
    meta = {"name": "web", "namespace": "default"}
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    await device.store.create(
        "poddisruptionbudgets.policy", {**kind, "metadata": meta, "spec": spec}
    )
    await device.store.create("deployments.apps", deployment(replicas=3))

    def counts() -> tuple[int, ...]:
        status = device.get("poddisruptionbudgets.policy", "web").get("status") or {}
        fields = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
        return tuple(status.get(field, -1) for field in fields)

    await device.until(lambda: counts() == (3, 2, 3, 1), "all three")
    resize = lambda obj: obj["spec"].update(replicas=5)  # noqa: E731
    device.agent.makes_ready = False
    await device.edit("deployments.apps", "web", resize)
    await device.until(lambda: counts() == (5, 4, 3, 0), "five wanted, three there")
