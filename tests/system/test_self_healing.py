"""What dies comes back: pods that are deleted, containers whose process ends."""

from __future__ import annotations

import os
import signal
import time

import pytest

from . import lab as labs
from . import manifests

QUICK_SECONDS = 1.0
"""Well under a second on a quiet machine; the best of several, on one that is not."""


def container_pid(lab: labs.Lab, pod: labs.Object, name: str = "") -> int:
    """The process of a running container, as containerd knows it."""
    statuses = pod["status"]["containerStatuses"]
    (status,) = [s for s in statuses if name in ("", s["name"])][:1]
    wanted = status["containerID"].removeprefix("containerd://")
    listed = lab.run("ctr", "task", "list").stdout.splitlines()[1:]
    found = {line.split()[0]: int(line.split()[1]) for line in listed}
    return found[wanted]


def running(lab: labs.Lab, *arguments: str) -> dict[str, labs.Object]:
    """Ready pods that are not on their way out, by name."""
    return {
        pod["metadata"]["name"]: pod
        for pod in lab.items("pods", *arguments)
        if "deletionTimestamp" not in pod["metadata"] and _ready(pod)
    }


def _ready(pod: labs.Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def replaced(lab: labs.Lab, before: set[str], count: int, *arguments: str) -> set[str]:
    def whole() -> set[str]:
        now = set(running(lab, *arguments))
        return now if len(now) == count and not now & before else set()

    return labs.until(whole, f"{count} other pods than {before}")


def test_a_deleted_pod_is_replaced_in_well_under_a_second(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.deployment("web", replicas=2), *n)
    lab.rollout("deploy/web", *n)
    took = []
    for _ in range(3):
        victim = sorted(running(lab, *n))[0]
        others = set(running(lab, *n)) - {victim}
        began = time.monotonic()
        path = f"/api/v1/namespaces/{namespace}/pods"
        assert lab.api("DELETE", f"{path}/{victim}").status == 200

        def back(path: str = path, gone: str = victim) -> bool:
            pods = lab.api("GET", path).json["items"]
            names = {p["metadata"]["name"] for p in pods if _ready(p)} - {gone}
            return len(names) == 2

        labs.until(back, "a Ready replacement")
        took.append(time.monotonic() - began)
        assert others <= set(running(lab, *n))
    assert min(took) < QUICK_SECONDS, took


def test_two_deleted_at_once_are_both_replaced(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.deployment("web", replicas=3), *n)
    lab.rollout("deploy/web", *n)
    first, second, third = sorted(running(lab, *n))
    lab.kubectl("delete", "pod", first, second, *n)
    after = labs.until(
        lambda: found if len(found := running(lab, *n)) == 3 else None, "three again"
    )
    assert after is not None
    assert third in after
    assert {first, second}.isdisjoint(after)
    labs.until(lambda: len(lab.items("pods", *n)) == 3, "no more than three")


def test_a_killed_process_is_started_again(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.pod("p"), *n)
    lab.wait("pod/p", "condition=Ready", *n)
    pod = lab.get("pod/p", *n)
    before = pod["status"]["containerStatuses"][0]
    began = time.monotonic()
    os.kill(container_pid(lab, pod), signal.SIGKILL)
    path = f"/api/v1/namespaces/{namespace}/pods/p"

    def again() -> labs.Object | None:
        found: labs.Object = lab.api("GET", path).json["status"]["containerStatuses"][0]
        return found if found["restartCount"] == 1 and found["ready"] else None

    after = labs.until(again, "a restart")
    took = time.monotonic() - began
    assert after is not None
    assert took < QUICK_SECONDS * 5
    assert after["containerID"] != before["containerID"]
    last = after["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "Error")
    assert last["containerID"] == before["containerID"]
    # The pod is the same one, with its address.
    now = lab.get("pod/p", *n)
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert now["status"]["podIP"] == pod["status"]["podIP"]


def test_other_containers_of_a_pod_are_left_alone(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.pod("p", manifests.container(), manifests.container(name="other")), *n)
    lab.wait("pod/p", "condition=Ready", *n)
    pod = lab.get("pod/p", *n)
    other = container_pid(lab, pod, "other")
    os.kill(container_pid(lab, pod, "main"), signal.SIGKILL)
    lab.wait("pod/p", "jsonpath={.status.containerStatuses[?(@.name=='main')].restartCount}=1", *n)
    lab.wait("pod/p", "condition=Ready", *n)
    after = lab.get("pod/p", *n)
    assert container_pid(lab, after, "other") == other
    counts = {s["name"]: s["restartCount"] for s in after["status"]["containerStatuses"]}
    assert counts == {"main": 1, "other": 0}


def test_back_off_grows_as_on_kubernetes(lab: labs.Lab, namespace: str) -> None:
    """The first restart comes at once, then after 10 s, 20 s."""
    n = ("-n", namespace)
    lab.apply(manifests.pod("fails", manifests.container("echo here; exit 3")), *n)
    path = f"/api/v1/namespaces/{namespace}/pods/fails"
    starts: dict[int, float] = {}

    def status() -> labs.Object:
        found = lab.api("GET", path).json["status"].get("containerStatuses")
        if not found:
            return {}
        starts.setdefault(found[0]["restartCount"], time.monotonic())
        first: labs.Object = found[0]
        return first

    def waits() -> labs.Object:
        found = status()
        waiting: labs.Object = found.get("state", {}).get("waiting", {})
        crashed = waiting.get("reason") == "CrashLoopBackOff"
        return waiting if crashed and found["restartCount"] == 1 else {}

    waiting = labs.until(waits, "the first back-off")
    assert waiting["message"].startswith("back-off 10s restarting failed container=main pod=fails_")
    found = status()
    assert found["lastState"]["terminated"]["exitCode"] == 3
    assert found["lastState"]["terminated"]["reason"] == "Error"
    shown = lab.kubectl("get", "pod", "fails", "--no-headers", *n)
    assert "CrashLoopBackOff" in shown
    labs.until(lambda: status().get("restartCount") == 2, "the second restart")

    def waits_longer() -> bool:
        return "back-off 20s" in status().get("state", {}).get("waiting", {}).get("message", "")

    labs.until(waits_longer, "a longer back-off")
    assert starts[1] - starts[0] < 5
    assert 9 < starts[2] - starts[1] < 20
    assert lab.kubectl("logs", "fails", "--previous", *n) == "here\n"
    reasons = {e["reason"]: e for e in lab.items("events", *n)}
    assert reasons["BackOff"]["message"].startswith("Back-off restarting failed container main in")
    assert reasons["BackOff"]["type"] == "Warning"


@pytest.mark.ask(18)
def test_liveness_restarts_a_container_that_hangs(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1}
    script = "[ -e /data/mark ] || touch /data/mark; touch /tmp/alive; " + manifests.IDLE
    mount = [{"name": "data", "mountPath": "/data"}]
    main = manifests.container(
        script, livenessProbe=probe | {"failureThreshold": 2}, volumeMounts=mount
    )
    lab.apply(manifests.pod("p", main, volumes=[{"name": "data", "emptyDir": {}}]), *n)
    lab.wait("pod/p", "condition=Ready", *n)
    status = lab.get("pod/p", *n)["status"]["containerStatuses"][0]
    identity = status["containerID"].removeprefix("containerd://")
    lab.run("ctr", "task", "exec", "--exec-id", "x", identity, "rm", "/tmp/alive")
    lab.wait("pod/p", "jsonpath={.status.containerStatuses[0].restartCount}=1", *n)
    lab.wait("pod/p", "condition=Ready", *n)
    reasons = {e["reason"]: e["message"] for e in lab.items("events", *n)}
    assert reasons["Unhealthy"].startswith("Liveness probe failed:")
    assert reasons["Killing"] == "Container main failed liveness probe, will be restarted"


def test_a_replica_set_adopts_and_releases_by_label(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.deployment("web", replicas=1), *n)
    lab.rollout("deploy/web", *n)
    (name,) = running(lab, *n)
    lab.kubectl("label", "pod", name, "app=other", "--overwrite", *n)
    labs.until(lambda: len(running(lab, *n)) == 2, "a replacement for the released pod")
    assert "ownerReferences" not in lab.get("pod", name, *n)["metadata"]
    lab.kubectl("label", "pod", name, "app=web", "--overwrite", *n)
    labs.until(lambda: len(running(lab, "-l", "app=web", *n)) == 1, "one too many goes")
