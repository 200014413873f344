"""Pods get the node when it has room for them, and are told why when not."""

from __future__ import annotations

from typing import Any

from tests.component.controllers.conftest import NODE, Device, pod

Object = dict[str, Any]


def scheduled(device: Device, name: str) -> Object:
    found = device.get("pods", name)["status"].get("conditions", [])
    return next((each for each in found if each["type"] == "PodScheduled"), {})


def asking(memory: str) -> Any:
    resources = {"requests": {"memory": memory}}
    return [{"name": "main", "image": "web:1", "resources": resources}]


async def is_bound(device: Device, name: str) -> None:
    await device.until(
        lambda: (
            device.get("pods", name)["spec"].get("nodeName") == NODE
            and scheduled(device, name).get("status") == "True"
        ),
        f"{name} bound",
    )


async def test_a_pod_is_bound(device: Device) -> None:
    await device.store.create("pods", pod("a"))
    await is_bound(device, "a")
    assert device.messages("Scheduled") == [f"Successfully assigned default/a to {NODE}"]


async def test_a_pod_waits_for_memory(device: Device) -> None:
    await device.store.create("pods", pod("large", containers=asking("3Gi")))
    await is_bound(device, "large")
    await device.store.create("pods", pod("next", containers=asking("2Gi")))
    await device.until(lambda: scheduled(device, "next"), "refused")
    assert scheduled(device, "next")["reason"] == "Unschedulable"
    assert scheduled(device, "next")["message"] == (
        "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
    assert device.messages("FailedScheduling") == [scheduled(device, "next")["message"]]
    await device.store.delete("pods", "default", "large")
    await is_bound(device, "next")


async def test_a_pod_that_is_over_makes_room(device: Device) -> None:
    await device.store.create("pods", pod("large", containers=asking("3Gi")))
    await is_bound(device, "large")
    await device.store.create("pods", pod("next", containers=asking("2Gi")))
    await device.until(lambda: scheduled(device, "next"), "refused")
    await device.agent.report("default", "large", ready=False, phase="Succeeded")
    await is_bound(device, "next")


async def test_a_cordoned_node_takes_nothing_until_it_is_freed(device: Device) -> None:
    await device.edit(
        "nodes", NODE, lambda obj: obj.setdefault("spec", {}).update(unschedulable=True)
    )
    await device.store.create("pods", pod("a"))
    await device.until(lambda: scheduled(device, "a"), "refused")
    assert scheduled(device, "a")["message"] == (
        "0/1 nodes are available: 1 node(s) were unschedulable. preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    await device.edit("nodes", NODE, lambda obj: obj["spec"].pop("unschedulable"))
    await is_bound(device, "a")


async def test_gates_hold_a_pod(device: Device) -> None:
    await device.store.create("pods", pod("a", schedulingGates=[{"name": "example.com/wait"}]))
    await device.until(lambda: scheduled(device, "a"), "gated")
    assert scheduled(device, "a")["reason"] == "SchedulingGated"
    await device.edit("pods", "a", lambda obj: obj["spec"].pop("schedulingGates"))
    await is_bound(device, "a")


async def test_a_pod_that_names_its_node_keeps_it(device: Device) -> None:
    await device.store.create("pods", pod("a", nodeName="elsewhere"))
    await device.store.create("pods", pod("b"))
    await is_bound(device, "b")
    assert device.get("pods", "a")["spec"]["nodeName"] == "elsewhere"
    assert len(device.messages("Scheduled")) == 1


async def test_another_schedulers_pods_are_left_alone(device: Device) -> None:
    await device.store.create("pods", pod("theirs", schedulerName="mine"))
    await device.store.create("pods", pod("ours"))
    await is_bound(device, "ours")
    assert scheduled(device, "theirs") == {}
    assert "nodeName" not in device.get("pods", "theirs")["spec"]


async def test_one_waits_until_whom_it_wants_to_be_with_has_come(device: Device) -> None:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "other"}},
    }
    wish = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    named = {"kubernetes.io/hostname": NODE}
    await device.edit("nodes", NODE, lambda obj: obj["metadata"].update(labels=named))
    await device.store.create("pods", pod("shy", affinity=wish))
    await device.until(lambda: scheduled(device, "shy"), "refused")
    assert scheduled(device, "shy")["message"] == (
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    other = pod("other")
    other["metadata"]["labels"] = {"app": "other"}
    await device.store.create("pods", other)
    await is_bound(device, "shy")


async def test_a_taint_that_evicts(device: Device) -> None:
    patient = {
        "key": "wet",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 3600,
    }
    resistant = {"key": "wet", "operator": "Exists"}
    await device.store.create("pods", pod("dry"))
    await device.store.create("pods", pod("patient", tolerations=[patient]))
    await device.store.create("pods", pod("boat", tolerations=[resistant]))
    for name in ("dry", "patient", "boat"):
        await is_bound(device, name)
    taint = {"key": "wet", "effect": "NoExecute"}
    await device.edit("nodes", NODE, lambda obj: obj["spec"].update(taints=[taint]))
    await device.until(
        lambda: "Marking for deletion Pod default/dry" in device.messages("TaintManagerEviction"),
        "evicted",
    )
    await device.until(
        lambda: (
            device.store.find("pods", "default", "dry") is None
            or device.get("pods", "dry")["metadata"].get("deletionTimestamp")
        ),
        "deleted",
    )
    await device.edit("nodes", NODE, lambda obj: obj["spec"].pop("taints"))
    told = "Cancelling deletion of Pod default/patient"
    await device.until(lambda: told in device.messages("TaintManagerEviction"), "called off")
    assert len(device.messages("TaintManagerEviction")) == 2
    for name in ("patient", "boat"):
        assert "deletionTimestamp" not in device.get("pods", name)["metadata"]


async def test_a_node_under_pressure_gets_nothing_but_what_tolerates_it(device: Device) -> None:
    key = "node.kubernetes.io/disk-pressure"

    async def pressed(status: str) -> None:
        def change(obj: Object) -> Object:
            conditions = [{"type": "DiskPressure", "status": status}]
            return {**obj, "status": {**obj["status"], "conditions": conditions}}

        await device.store.update_status("nodes", "", NODE, change)

    def taints() -> list[Object]:
        found: list[Object] = device.get("nodes", NODE, "")["spec"].get("taints", [])
        return found

    await pressed("True")
    await device.until(taints, "a taint")
    assert [(each["key"], each["effect"]) for each in taints()] == [(key, "NoSchedule")]
    await device.store.create("pods", pod("plain"))
    tolerations = [{"key": key, "operator": "Exists", "effect": "NoSchedule"}]
    await device.store.create("pods", pod("tolerant", tolerations=tolerations))
    await is_bound(device, "tolerant")
    told = f"1 node(s) had untolerated taint {{{key}: }}"
    await device.until(lambda: told in scheduled(device, "plain").get("message", ""), "a refusal")
    await pressed("False")
    await is_bound(device, "plain")
    assert taints() == []
