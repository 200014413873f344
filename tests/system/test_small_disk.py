"""A device whose disk is full, has no inodes left, turns read-only or breaks; and what it puts out
when it runs short. Its data lie on a small medium of its own, with the images of containerd."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import media

from . import clients, manifests, pulls
from . import lab as labs

pytestmark = media.needs_loop
LIKED = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "liked"},
    "value": 1000,
}
SOON = {"interval": 0.3, "pressure_transition_period": 1.0}
WRITE = "dd if=/dev/zero of=/x/y bs=1M count={} 2>/dev/null; "
FILES = "i=0; while [ $i -lt {} ]; do : >/x/$i; i=$((i+1)); done; "


@pytest.fixture(scope="module")
def small(
    no_stale_labs: None, images: dict[str, Path], fresh_lab: Callable[[], labs.Lab]
) -> Iterator[labs.Lab]:
    made = fresh_lab()
    try:
        made.up("--disk", "192:3000")
        made.load(images["busybox-latest"])
        yield made
    finally:
        made.down()


@pytest.fixture
def medium(small: labs.Lab) -> Iterator[media.Medium]:
    found = media.Medium(small.device.data)
    yield found
    with contextlib.suppress(OSError):
        found.clear()


@contextlib.contextmanager
def thresholds(lab: labs.Lab, path: Path, **hard: str) -> Iterator[None]:
    """Until left; then there are none again."""
    off = dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree"), "0")

    def use(amounts: dict[str, str]) -> None:
        named = {name.replace("_", "."): amount for name, amount in amounts.items()}
        path.write_text(json.dumps({"eviction": {**SOON, "hard": {**off, **named}}}))
        lab.lab("stop")
        lab.up("--config", str(path))

    use(hard)
    try:
        yield
    finally:
        use({})


def pod(name: str, script: str = "", *, requests: Any = None, **spec: Any) -> labs.Object:
    mounts = [{"name": "x", "mountPath": "/x"}]
    container = manifests.container(
        script + manifests.IDLE, resources={"requests": requests or {}}, volumeMounts=mounts
    )
    return manifests.pod(name, container, volumes=[{"name": "x", "emptyDir": {}}], **spec)


def condition(lab: labs.Lab, kind: str) -> dict[str, str]:
    listed = lab.items("nodes")[0]["status"]["conditions"]
    return next(each for each in listed if each["type"] == kind)


def evicted(lab: labs.Lab) -> list[str]:
    """Names, in the order in which they went."""
    lines = [line for line in lab.log().splitlines() if "Evicting " in line]
    return [line.partition("Evicting default/")[2].partition(":")[0] for line in lines]


def refused(lab: labs.Lab, reason: str, *words: str) -> None:
    new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
    result = lab.try_kubectl("create", "-f", "-", stdin=new, seconds=20)
    assert result.returncode == 1, result.stdout
    for word in (f"Error from server ({reason})", str(lab.device.data / "edgeorch"), *words):
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def goes_on(lab: labs.Lab) -> None:
    assert "answered" in lab.kubectl("exec", "steady", "--", "echo", "answered")
    runs(lab)


def runs(lab: labs.Lab) -> None:
    status = lab.get("pod", "steady")["status"]["containerStatuses"][0]
    assert status["ready"]
    assert status["restartCount"] == 0


@pytest.fixture
def steady(small: labs.Lab) -> None:
    small.apply(pod("steady", priorityClassName="system-node-critical"))
    small.wait("pod/steady", "condition=Ready")


def start_again(lab: labs.Lab) -> None:
    """Without waiting for what will not be: that it is ready."""
    lab.lab("kill")
    with subprocess.Popen([labs.LAB, "start", lab.name], stderr=subprocess.DEVNULL) as starting:
        labs.until(lambda: lives(lab), "a sign of life")
        starting.terminate()


def lives(lab: labs.Lab) -> bool:
    try:
        return lab.health("/livez").status == 200
    except OSError:
        return False


@pytest.mark.ask(16)
def test_on_a_full_disk_everything_goes_on_that_is_there(
    small: labs.Lab, medium: media.Medium, steady: None
) -> None:
    small.kubectl("create", "configmap", "held", "--from-literal=a=b")
    again = pod("again")
    again["metadata"]["labels"] = {"app": "again"}
    small.apply(manifests.listed(manifests.deployment("web"), again, manifests.service("again")))
    small.rollout("deployment/web")
    small.wait("pod/again", "condition=Ready")
    filler = medium.fill()
    goes_on(small)
    refused(small, "InsufficientStorage", "is full", "edgeorch image prune")
    small.kubectl("annotate", "configmap", "held", "still=written")
    small.kubectl("scale", "deployment/web", "--replicas=0")
    small.kubectl("wait", "pod", "-l", "app=web", "--for=delete", "--timeout=30s")
    small.kubectl("delete", "deployment/web", "configmap/held")
    assert small.health("/readyz").status == 200

    small.lab("kill")
    small.lab("start")
    goes_on(small)
    refused(small, "InsufficientStorage", "is full")
    # What is made anew after every start and never written down.
    labels = ("-l", "kubernetes.io/service-name=again")
    slices = labs.until(lambda: small.items("endpointslices", *labels), "the Service's slice")
    assert slices[0]["endpoints"][0]["conditions"]["ready"]

    # What ends is started again, on the room that is kept for such a day.
    small.try_kubectl("exec", "again", "--", "kill", "1")  # which it may not outlive
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    small.wait("pod/again", restarted)
    small.wait("pod/again", "condition=Ready")
    assert not (small.device.data / "edgeorch/reserve").exists()

    filler.unlink()
    small.kubectl("create", "configmap", "new", "--from-literal=a=b")
    small.kubectl("delete", "configmap", "new")
    small.kubectl("delete", "pod/again", "service/again")
    assert "Traceback" not in small.log()
    goes_on(small)


def test_without_inodes_what_needs_none_goes_on(
    small: labs.Lab, medium: media.Medium, steady: None
) -> None:
    taken = medium.fill_inodes()
    goes_on(small)
    small.kubectl("create", "configmap", "no-file", "--from-literal=a=b")
    small.apply(pod("waits"))
    told = labs.until(
        lambda: [e for e in small.items("events") if "No space left" in e["message"]],
        "an event of the pod that waits",
    )
    assert told[0]["involvedObject"]["name"] == "waits"
    small.lab("kill")
    small.lab("start")
    goes_on(small)
    small.run("rm", "-rf", str(taken))
    small.wait("pod/waits", "condition=Ready")
    small.kubectl("delete", "pod/waits", "configmap/no-file", "--grace-period=1")


def test_a_bundle_that_fits_only_under_pressure_is_refused(
    small: labs.Lab, medium: media.Medium, tmp_path: Path
) -> None:
    """Its image would find room, but nothing else would then."""
    with pulls.registry(small, tmp_path) as host:
        image = f"{host}/team/noise:1"
        body = json.dumps(manifests.pod("noise", manifests.container(image=image))).encode()

        def tried() -> clients.Answer:
            url = "/apis/edgeorch.io/v1/bundles/noise/manifests?dryRun=All"
            return small.api("PUT", url, body, headers={"Content-Type": "application/json"})

        assert tried().status == 200
        spare = os.statvfs(medium.path).f_bavail * os.statvfs(medium.path).f_frsize - (8 << 20)
        with thresholds(small, tmp_path / "t.json", imagefs_available=str(spare)):
            refused = tried()
            assert refused.status == 422
            assert "of imagefs.available the device has DiskPressure" in refused.json["message"]


def test_what_uses_the_disk_most_is_put_out(
    small: labs.Lab, medium: media.Medium, steady: None, tmp_path: Path
) -> None:
    with thresholds(small, tmp_path / "t.json", nodefs_available="35%", nodefs_inodesFree="25%"):
        asked = {"ephemeral-storage": "40Mi"}
        small.apply(
            manifests.listed(
                pod("asked", WRITE.format(20), requests=asked),
                pod("little", WRITE.format(5)),
            )
        )
        for name in ("asked", "little"):
            small.wait(f"pod/{name}", "condition=Ready")
        small.apply(pod("most", WRITE.format(80)))
        small.wait("pod/most", "jsonpath={.status.phase}=Failed")
        status = small.get("pod", "most")["status"]
        assert status["reason"] == "Evicted"
        low = "The node was low on resource: ephemeral-storage. Threshold quantity: "
        assert status["message"].startswith(low)
        small.apply(pod("later"))
        small.wait("pod/later", "condition=Ready")  # once there is no pressure any more

        small.apply(pod("files", FILES.format(2500)))
        small.wait("pod/files", "jsonpath={.status.phase}=Failed")
        low = "The node was low on resource: inodes. Threshold quantity: "
        assert small.get("pod", "files")["status"]["message"].startswith(low)
        reasons = {event["reason"] for event in small.items("events")}
        wanted = {"EvictionThresholdMet", "NodeHasDiskPressure", "NodeHasNoDiskPressure", "Evicted"}
        assert wanted <= reasons
        labs.until(lambda: condition(small, "DiskPressure")["status"] == "False", "no pressure")

        filler = medium.fill(leave=40 << 20)
        small.wait("pod/little", "jsonpath={.status.phase}=Failed")
        key = "node.kubernetes.io/disk-pressure"
        labs.until(lambda: key in small.kubectl("describe", "nodes"), "the taint")
        assert condition(small, "DiskPressure")["reason"] == "KubeletHasDiskPressure"
        small.apply(pod("kept-away"))
        small.wait("pod/kept-away", "condition=PodScheduled=False")
        filler.unlink()
        small.wait("pod/kept-away", "condition=Ready")
        goes_on(small)
    assert evicted(small)[:3] == ["most", "files", "little"]
    small.kubectl("delete", "pod", "--all", "--grace-period=1")


def test_for_want_of_memory_pods_go_in_order(small: labs.Lab, steady: None, tmp_path: Path) -> None:
    before = len(evicted(small))
    small.apply(
        manifests.listed(
            pod("modest", requests={"memory": "64Mi"}),
            pod("hungry", "a=$(head -c 30000000 /dev/zero | tr '\\0' x); "),
            LIKED,
        )
    )
    more = "a=$(head -c 60000000 /dev/zero | tr '\\0' x); "
    small.apply(pod("liked", more, priorityClassName="liked"))
    for name in ("modest", "hungry", "liked"):
        small.wait(f"pod/{name}", "condition=Ready")
    with thresholds(small, tmp_path / "m.json", memory_available="99.9%"):
        for name in ("modest", "hungry", "liked"):
            small.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed")
        assert evicted(small)[before:] == ["hungry", "liked", "modest"]
        told = small.get("pod", "hungry")["status"]["message"]
        assert told.startswith("The node was low on resource: memory. Threshold quantity: ")
        assert told.endswith(", request is 0, has larger consumption of memory. ")
        assert condition(small, "MemoryPressure")["status"] == "True"
        goes_on(small)
    small.kubectl("delete", "pod", "--all", "--grace-period=1")


def test_for_want_of_processes_pods_go_in_order(
    small: labs.Lab, steady: None, tmp_path: Path
) -> None:
    before = len(evicted(small))
    fork = "for i in $(seq {}); do sleep 3600 & done; "
    small.apply(manifests.listed(LIKED, pod("few"), pod("many", fork.format(20))))
    small.apply(pod("liked", fork.format(40), priorityClassName="liked"))
    for name in ("few", "many", "liked"):
        small.wait(f"pod/{name}", "condition=Ready")
    with thresholds(small, tmp_path / "p.json", pid_available="99.999%"):
        for name in ("few", "many", "liked"):
            small.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed")
        assert evicted(small)[before:] == ["many", "few", "liked"]
        status = small.get("pod", "many")["status"]
        assert status["reason"] == "Evicted"
        assert status["message"].startswith(
            "The node was low on resource: pids. Threshold quantity: "
        )
        told = condition(small, "PIDPressure")
        assert (told["status"], told["reason"]) == ("True", "KubeletHasInsufficientPID")
        small.apply(pod("late"))
        small.wait("pod/late", "jsonpath={.status.conditions[0].reason}=Unschedulable")
        taint = "untolerated taint {node.kubernetes.io/pid-pressure: }"
        assert taint in small.kubectl("describe", "pod", "late")
        goes_on(small)
    # It is let in as soon as there are enough again.
    small.wait("pod/late", "condition=Ready")
    small.kubectl("delete", "pod", "--all", "--grace-period=1")


@pytest.mark.ask(29)
def test_a_medium_that_stalls_holds_up_only_what_is_written(
    small: labs.Lab, medium: media.Medium, steady: None
) -> None:
    create = ("create", "configmap", "late", "--from-literal=a=b")
    with contextlib.ExitStack() as stack:
        with medium.stalled():
            late = stack.enter_context(small.background(*create))
            goes_on(small)
            assert small.health("/livez").status == 200
            assert not small.try_kubectl("get", "configmap", "late").stdout
            assert not late.ended
        assert late.wait() == 0
    assert small.get("configmap", "late")["data"] == {"a": "b"}
    small.kubectl("delete", "configmap", "late")


def test_on_a_medium_that_fails_reads_are_served(
    small: labs.Lab, medium: media.Medium, steady: None
) -> None:
    """The last of them: the device has no medium afterwards."""
    for fail, words, works in (
        (medium.make_read_only, ("is read-only", "dmesg"), goes_on),
        (functools.partial(start_again, small), ("is read-only", "dmesg"), goes_on),
        (medium.break_down, ("dmesg",), runs),
    ):
        fail()
        if fail == medium.make_read_only:
            labs.until(lambda: small.health("/readyz").status == 500, "it is seen without a write")
        refused(small, "ServiceUnavailable", *words)
        works(small)
        ready = small.health("/readyz?verbose")
        assert ready.status == 500
        assert "[-]store failed: cannot " in ready.body.decode()
        assert small.health("/livez").status == 200
    assert "Traceback" not in small.log()
