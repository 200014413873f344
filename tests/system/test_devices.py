"""Devices without privileges, and what the device keeps for itself: one device of its own.

The nodes are made here in a folder that stands for /dev; those of the loop and fuse drivers, which
no container may open unless it is given them.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lablib import kernel

from . import lab as labs
from . import manifests
from .test_self_healing import container_pid

LOOP, FUSE = os.makedev(10, 237), os.makedev(10, 229)
GPS, CAM = "devices.edgeorch.io/gps", "devices.edgeorch.io/cam"
MEBI = 1024 * 1024


def node(path: Path, number: int = LOOP, mode: int = 0o660, group: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR | mode, number)
    path.chmod(mode)
    os.chown(path, 0, group)
    return path


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module")
def lab(
    no_stale_labs: None,
    images: dict[str, Path],
    dev: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[labs.Lab]:
    config = tmp_path_factory.mktemp("config") / "devices.yaml"
    devices = {
        "gps": {"paths": [f"{dev}/serial/by-id/usb-gps-*"], "container_path": "/dev/gps"},
        "cam": {"paths": [f"{dev}/video0"], "count": 2, "permissions": "r"},
    }
    reserved = {"cpu": "250m", "memory": "200Mi", "ephemeral-storage": "1Gi"}
    pods = {"pids_limit": 64}
    told = {"devices": devices, "node": {"reserved": reserved}, "pods": pods}
    config.write_text(json.dumps(told))
    made = labs.Lab(f"t{os.getpid()}-dev")
    try:
        made.up("--config", str(config))
        made.load(images["busybox-latest"])
        yield made
    finally:
        made.down()


def asking(name: str, script: str = manifests.IDLE, what: str = GPS, **fields: Any) -> labs.Object:
    resources = {"limits": {what: "1"}}
    return manifests.pod(name, manifests.container(script, resources=resources), **fields)


def scheduled(lab: labs.Lab, name: str) -> str:
    conditions = lab.get("pod", name)["status"].get("conditions") or []
    return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")


def sh(lab: labs.Lab, pod: str, script: str) -> str:
    return lab.kubectl("exec", pod, "--", "sh", "-c", script).strip()


def refused(lab: labs.Lab, pod: str, script: str) -> str:
    return lab.try_kubectl("exec", pod, "--", "sh", "-c", script).stderr


def capacity(lab: labs.Lab, name: str) -> tuple[str, str]:
    (found,) = lab.items("nodes")
    return found["status"]["capacity"][name], found["status"]["allocatable"][name]


@pytest.mark.ask(25)
def test_a_pod_waits_for_its_device_and_has_it_alone(lab: labs.Lab, dev: Path) -> None:
    assert capacity(lab, GPS) == ("0", "0")
    lab.apply(asking("first"))
    short = f"0/1 nodes are available: 1 Insufficient {GPS}. preemption:"
    labs.until(lambda: scheduled(lab, "first").startswith(short), "it says what is missing")
    assert lab.get("pod/first")["status"]["phase"] == "Pending"
    lab.apply(asking("unknown", what="devices.edgeorch.io/teapot"))
    missing = "0/1 nodes are available: 1 Insufficient devices.edgeorch.io/teapot."
    labs.until(lambda: scheduled(lab, "unknown").startswith(missing), "no configuration has it")

    gps = node(dev / "serial/by-id/usb-gps-1", LOOP, group=20)
    lab.wait("pod/first", "condition=Ready")
    assert capacity(lab, GPS) == ("1", "1")
    assert sh(lab, "first", "stat -c '%t:%T %a %g' /dev/gps") == "a:ed 660 20"
    assert sh(lab, "first", ": <>/dev/gps && echo open") == "open"
    # Its group may use it, and this device is all that it may use.
    assert "20" in sh(lab, "first", "id -G").split()
    assert "not permitted" in refused(lab, "first", "mknod /tmp/f c 10 229 && : <>/tmp/f")

    lab.apply(asking("second"))
    labs.until(lambda: scheduled(lab, "second").startswith(short), "the only one is taken")
    described = lab.kubectl("describe", "node")
    line = next(line for line in described.splitlines()[::-1] if GPS in line)
    assert line.split() == [GPS, "1", "1"]
    before = lab.get("pod/first")["status"]["containerStatuses"][0]["containerID"]
    lab.lab("kill")
    lab.lab("start")
    labs.until(lambda: scheduled(lab, "second").startswith(short), "still taken")
    assert lab.get("pod/first")["status"]["containerStatuses"][0]["containerID"] == before
    lab.kubectl("delete", "pod", "first")
    lab.wait("pod/second", "condition=Ready")
    gps.unlink()
    labs.until(lambda: capacity(lab, GPS) == ("0", "0"), "it is gone")
    lab.kubectl("delete", "pod", "second", "unknown")


@pytest.mark.ask(26)
def test_a_device_that_was_unplugged_comes_back_to_its_container(lab: labs.Lab, dev: Path) -> None:
    path = dev / "serial/by-id/usb-gps-2"

    def plug(number: int) -> None:
        node(path, number)

    def unplug() -> None:
        path.unlink()
        labs.until(lambda: capacity(lab, GPS) == ("0", "0"), "it is gone")

    def states() -> dict[str, tuple[int, bool]]:
        """Restarts, and whether it runs, by container."""
        every = lab.get("pod/reader")["status"]["containerStatuses"]
        return {each["name"]: (each["restartCount"], each["ready"]) for each in every}

    def health() -> str:
        every = lab.get("pod/reader")["status"]["containerStatuses"]
        (main,) = (each for each in every if each["name"] == "main")
        (told,) = main["allocatedResourcesStatus"]
        (unit,) = told["resources"]
        assert (told["name"], unit["resourceID"]) == (GPS, str(path))
        return str(unit["health"])

    def until(main: tuple[int, bool]) -> None:
        labs.until(lambda: states() == {"main": main, "beside": (0, True)}, f"main {main}")

    def fresh() -> None:
        lab.kubectl("delete", "pod", "reader", "--ignore-not-found")
        lab.apply(reader)
        lab.wait("pod/reader", "condition=Ready")

    def leads_to(number: int) -> bool:
        name = f"{os.major(number):x}:{os.minor(number):x}"
        opened = "stat -c %t:%T /dev/gps && : <>/dev/gps"
        return sh(lab, "reader", opened) == name

    reader = asking("reader")
    reader["spec"]["containers"].append(manifests.container(name="beside"))
    plug(LOOP)
    fresh()
    # The same node again: what the container has is good.
    assert health() == "Healthy"
    unplug()
    labs.until(lambda: health() == "Unhealthy", "the pod says so")
    plug(LOOP)
    labs.until(lambda: health() == "Healthy", "it is back")
    labs.until(lambda: capacity(lab, GPS) == ("1", "1"), "the node says so, too")
    assert leads_to(LOOP)
    # Another one, also at once: only the container that has it starts again.
    path.unlink()
    plug(FUSE)
    until((1, True))
    assert leads_to(FUSE)
    told = "Devices of container main were plugged in again, will be restarted"
    events = lab.items("events", "--field-selector", "reason=Killing")
    assert [each["message"] for each in events if told in each["message"]] == [told]

    fresh()
    lab.lab("kill")
    path.unlink()
    plug(LOOP)
    lab.lab("start")
    until((1, True))
    assert leads_to(LOOP)

    # One that gives up without its device waits for it.
    fresh()
    unplug()
    os.kill(container_pid(lab, lab.get("pod/reader"), "main"), signal.SIGKILL)
    until((0, False))
    labs.until(
        lambda: (
            f"{GPS}: 1 asked for, 0 of 0 free" in lab.kubectl("get", "pod/reader", "-o", "yaml")
        ),
        "why",
    )
    plug(FUSE)
    until((1, True))
    assert leads_to(FUSE)
    lab.kubectl("delete", "pod", "reader")
    unplug()


def test_a_shared_device_and_only_what_may_be_done_with_it(lab: labs.Lab, dev: Path) -> None:
    node(dev / "video0", FUSE, 0o666)
    labs.until(lambda: capacity(lab, CAM) == ("2", "2"), "two shares")
    user = {"runAsUser": 1000}
    for name in ("one", "two"):
        lab.apply(asking(name, what=CAM, securityContext=user))
    lab.apply(asking("three", what=CAM))
    lab.wait("pod/one", "condition=Ready")
    lab.wait("pod/two", "condition=Ready")
    labs.until(lambda: "Insufficient" in scheduled(lab, "three"), "no share is left")
    path = dev / "video0"
    assert sh(lab, "one", f": <{path} && echo open") == "open"
    assert "not permitted" in refused(lab, "one", f": <>{path}")
    lab.kubectl("delete", "pod", "one", "two", "three")


def test_a_device_by_its_path_can_be_opened(lab: labs.Lab, dev: Path) -> None:
    path = node(dev / "here", FUSE, 0o666)

    def pod(name: str, where: Path, kind: str) -> labs.Object:
        volumes = [{"name": "d", "hostPath": {"path": str(where), "type": kind}}]
        mount = [{"name": "d", "mountPath": "/dev/mine"}]
        return manifests.pod(name, manifests.container(volumeMounts=mount), volumes=volumes)

    lab.apply(pod("typed", path, "CharDevice"))
    lab.apply(pod("bare", path, ""))
    lab.apply(pod("wrong", path, "BlockDevice"))
    lab.apply(pod("missing", dev / "gone", "CharDevice"))
    lab.wait("pod/typed", "condition=Ready")
    lab.wait("pod/bare", "condition=Ready")
    assert sh(lab, "typed", ": <>/dev/mine && echo open") == "open"
    assert "not permitted" in refused(lab, "bare", ": <>/dev/mine")
    for name, told in (
        ("wrong", f"hostPath type check failed: {path} is not a block device"),
        ("missing", f"hostPath type check failed: {dev}/gone is not a character device"),
    ):
        failed = f'MountVolume.SetUp failed for volume "d" : {told}'
        labs.until(
            lambda name=name, failed=failed: any(  # type: ignore[misc]
                (each["reason"], each["message"]) == ("FailedMount", failed)
                for each in lab.items("events")
                if each["involvedObject"]["name"] == name
            ),
            told,
        )
        assert lab.get("pod", name)["status"]["phase"] == "Pending"
    lab.kubectl("delete", "pod", "typed", "bare", "wrong", "missing")


def test_what_is_reserved_is_not_for_pods(lab: labs.Lab) -> None:
    (found,) = lab.items("nodes")
    whole, left = found["status"]["capacity"], found["status"]["allocatable"]
    assert _milli(whole["cpu"]) - _milli(left["cpu"]) == 250
    assert _ki(whole["memory"]) - _ki(left["memory"]) == 200 * 1024
    assert _ki(whole["ephemeral-storage"]) - _ki(left["ephemeral-storage"]) == 1024 * 1024
    # The kernel holds all pods together at it, and each at its number of processes.
    burst = {"requests": {"cpu": "100m", "memory": "16Mi"}}
    lab.apply(manifests.pod("p", manifests.container(resources=burst)))
    lab.apply(manifests.pod("q", manifests.container(resources=burst)))
    lab.wait("pod/p", "condition=Ready")
    lab.wait("pod/q", "condition=Ready")
    pods = f"{lab.device.cgroup}/kubepods"
    limit = _setting(f"{pods}", "memory.max", "memory", "memory.limit_in_bytes")
    assert abs(limit - _ki(left["memory"]) * 1024) < 4096
    uid = lab.get("pod/p")["metadata"]["uid"]
    assert _setting(f"{pods}/burstable/pod{uid}", "pids.max", "pids", "pids.max") == 64
    shares = _setting(f"{pods}/burstable", "cpu.weight", "cpu", "cpu.shares")
    assert shares in (204, 2 * (1 + 100 * 9999 // 262142))
    assert _setting(f"{pods}/besteffort", "cpu.weight", "cpu", "cpu.shares") in (1, 2)
    assert container_pid(lab, lab.get("pod/p"))
    fork = "for i in $(seq 100); do sleep 30 & done"
    assert "esource temporarily unavailable" in refused(lab, "p", fork)
    lab.kubectl("delete", "pod", "p", "q")


def _milli(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def _ki(text: str) -> int:
    assert text.endswith("Ki")
    return int(text[:-2])


def _setting(path: str, unified: str, controller: str, legacy: str) -> int:
    trees = kernel.hierarchies(kernel.mounts())
    for tree, controllers in trees.items():
        file = tree / path.lstrip("/") / (legacy if controller in controllers else unified)
        if (controller in controllers or "unified" in controllers) and file.exists():
            return int(file.read_text())
    raise AssertionError(f"{path} has no {controller}")
