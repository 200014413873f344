"""The life of a pod as a kubelet leads it: debugging, restart rules, hooks, probes, endings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "lives")
IMAGE = ("--image=busybox", "--image-pull-policy=IfNotPresent")


@pytest.fixture(scope="module", autouse=True)
def space(lab: labs.Lab) -> Iterator[None]:
    """One namespace for this file's pods, each test with names of its own."""
    lab.kubectl("create", "namespace", "lives")
    yield
    lab.kubectl("delete", "namespace", "lives", "--timeout=60s", seconds=70)


def test_debugging_a_running_pod(lab: labs.Lab) -> None:
    """A program beside the other, in its PID namespace; it runs once and changes nothing else."""
    lab.apply(manifests.pod("buggy"), *N)
    lab.wait("pod/buggy", "condition=Ready", *N)
    asked = ("debug", "buggy", *IMAGE, "--target=main", "-c", "dbg", *N)
    lab.kubectl(*asked, "--", "sh", "-c", "ps; echo done; exit 3")

    ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=3"
    lab.wait("pod/buggy", ended, *N)
    pod = lab.get("pod/buggy", *N)
    entry = pod["status"]["ephemeralContainerStatuses"][0]
    assert (entry["name"], entry["ready"], entry["restartCount"]) == ("dbg", False, 0)
    assert pod["status"]["phase"] == "Running"
    assert lab.kubectl("get", "pod", "buggy", "--no-headers", *N).split()[1:4] == [
        "1/1", "Running", "0"
    ]  # fmt: skip
    seen = lab.kubectl("logs", "buggy", "-c", "dbg", *N)
    assert "trap 'exit 0' TERM" in seen
    assert seen.endswith("done\n")

    refused = lab.try_kubectl(
        "patch", "pod", "buggy", "--subresource=ephemeralcontainers", "-p",
        '{"spec":{"ephemeralContainers":[{"name":"dbg","image":"other"}]}}', *N,
    )  # fmt: skip
    assert 'existing ephemeral containers "dbg" may not be changed' in refused.stderr


def test_debugging_a_copy_and_the_node(lab: labs.Lab) -> None:
    lab.apply(manifests.pod("broken", manifests.container("exit 1")), *N)
    lab.kubectl(
        "debug", "broken", "--copy-to=mended", "--container=main", "--set-image=main=busybox",
        "--share-processes=false", *N, "--", "sh", "-c", "sleep 100",
    )  # fmt: skip
    lab.wait("pod/mended", "condition=Ready", *N)

    look = "test -d /proc/1 && ls /run >/dev/null && echo seen"
    asked = ("debug", f"node/{lab.name}", *IMAGE, *N)
    lab.kubectl(*asked, "--", "chroot", "/host", "sh", "-c", look)
    name = lab.kubectl("get", "pods", "-o", "name", *N).split("\n")
    debugger = next(line for line in name if "node-debugger" in line)
    lab.wait(debugger, "jsonpath={.status.phase}=Succeeded", *N)
    assert lab.kubectl("logs", debugger, *N) == "seen\n"
    lab.kubectl("delete", "pods", "--all", "--grace-period=1", *N)


def test_one_end_restarts_all_and_each_its_own_way(lab: labs.Lab) -> None:
    """Same address, same volumes, init containers anew; no hooks, no grace."""
    mount: dict[str, Any] = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    script = "echo main >>/v/log; [ -e /v/again ] && exec sleep 1000; touch /v/again; exit 88"
    main = manifests.container(script, restartPolicy="Never", restartPolicyRules=rules, **mount)
    once = manifests.container("echo once >>/v/log", "once", **mount)
    init = manifests.container("echo init >>/v/log", "init", **mount)
    side = manifests.container("echo side >>/v/log; exec sleep 1000", "side", **mount)
    lab.apply(
        manifests.pod(
            "anew", main, once, initContainers=[init, side | {"restartPolicy": "Always"}],
            restartPolicy="Never", volumes=[{"name": "v", "emptyDir": {}}],
            terminationGracePeriodSeconds=300,
        ), *N,
    )  # fmt: skip
    again = "jsonpath={.status.containerStatuses[1].restartCount}=1"
    lab.wait("pod/anew", again, *N)
    address = lab.get("pod/anew", *N)["status"]["podIP"]
    read = ("exec", "anew", "-c", "side", *N, "--", "cat", "/v/log")
    labs.until(lambda: lab.kubectl(*read).count("\n") == 8, "the second round")
    pod = lab.get("pod/anew", *N)
    statuses = [*pod["status"]["containerStatuses"], *pod["status"]["initContainerStatuses"]]
    assert {s["restartCount"] for s in statuses} == {1}
    last = {s["lastState"]["terminated"]["reason"] for s in statuses}
    assert last == {"RestartingAllContainers"}
    assert pod["status"]["podIP"] == address
    assert pod["status"]["phase"] == "Running"
    lab.kubectl("delete", "pod", "anew", "--grace-period=1", *N)


def test_a_stop_signal_of_the_pods_own_choice(lab: labs.Lab) -> None:
    script = "trap 'exit 0' USR1; echo up; while :; do sleep 3600 & wait $!; done"
    chosen = manifests.container(script, lifecycle={"stopSignal": "SIGUSR1"})
    pod = manifests.pod("usr1", chosen, terminationGracePeriodSeconds=300)
    refused = lab.try_kubectl("apply", "-f", "-", *N, stdin=pod)
    assert "may not be set for containers with empty `spec.os.name`" in refused.stderr
    pod["spec"]["os"] = {"name": "linux"}
    assert "Warning" not in lab.apply(pod, *N)
    labs.until(lambda: lab.try_kubectl("logs", "usr1", *N).stdout == "up\n", "its trap")
    lab.kubectl("delete", "pod", "usr1", *N, seconds=20)


def test_hooks_deadlines_and_what_an_ending_pod_says(lab: labs.Lab) -> None:
    """postStart holds Running back and its failure restarts; a pod that ends stays ready while it
    answers, so that its EndpointSlice says serving; a deadline fails the pod."""
    bad = {"postStart": {"exec": {"command": ["sh", "-c", "echo secret; exit 7"]}}}
    lab.apply(manifests.pod("hooked", manifests.container(lifecycle=bad)), *N)
    hook = {
        "preStop": {
            "exec": {"command": ["sh", "-c", "until [ -e /go ]; do sleep 0.1; done; exit 3"]}
        }
    }
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    main = manifests.container(lifecycle=hook, readinessProbe=probe)
    labels = {"app": "leaving"}
    lab.apply(manifests.pod("leaving", main, labels=labels, terminationGracePeriodSeconds=60), *N)
    lab.apply(manifests.service("leaving", "ClusterIP"), *N)
    lab.apply(manifests.pod("late", activeDeadlineSeconds=1), *N)

    lab.wait("pod/leaving", "condition=Ready", *N)
    lab.kubectl("delete", "pod", "leaving", "--wait=false", *N)
    assert lab.kubectl("get", "pod", "leaving", "--no-headers", *N).split()[1:3] == [
        "1/1", "Terminating"
    ]  # fmt: skip

    def serving() -> bool:
        slices = lab.items("endpointslices", "-l", "kubernetes.io/service-name=leaving", *N)
        said = [each["conditions"] for each in slices[0].get("endpoints") or []]
        return said == [{"ready": False, "serving": True, "terminating": True}]

    labs.until(serving, "a terminating endpoint that serves")
    lab.kubectl("exec", "leaving", *N, "--", "touch", "/go")
    lab.kubectl("wait", "pod/leaving", "--for=delete", "--timeout=20s", *N)

    lab.wait("pod/late", "jsonpath={.status.phase}=Failed", *N)
    late = lab.get("pod/late", *N)["status"]
    assert late["reason"] == "DeadlineExceeded"
    assert late["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    lab.wait("pod/hooked", "jsonpath={.status.containerStatuses[0].restartCount}=1", *N)
    listed = lab.items("events", *N)
    events = {(e["involvedObject"]["name"], e["reason"], e["message"]) for e in listed}
    assert events >= {
        ("hooked", "FailedPostStartHook", "PostStartHook failed"),
        ("hooked", "Killing", "FailedPostStartHook"),
        ("leaving", "FailedPreStopHook", "PreStopHook failed"),
        ("leaving", "Killing", "Stopping container main"),
        ("late", "DeadlineExceeded",
         "Pod was active on the node longer than the specified deadline"),
    }  # fmt: skip
