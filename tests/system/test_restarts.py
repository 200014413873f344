"""edgeorch and containerd come and go; containers and what was accepted do not."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs
from .test_self_healing import container_pid

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

NewLab = Callable[..., labs.Lab]

# "about a second" on a quiet machine.
WRITES_AGAIN_SECONDS = 10.0

TICKS = "n=0; trap 'exit 0' TERM; while :; do n=$((n+1)); echo tick $n; sleep 0.1 & wait $!; done"


@pytest.fixture(scope="module")
def own(no_stale_labs: None, images: dict[str, Path]) -> Iterator[labs.Lab]:
    """One device for this file: its tests end edgeorch one after another."""
    device = labs.Lab(f"t{os.getpid()}-restarts")
    try:
        device.up()
        device.load(images["busybox-latest"], images["nginx-1.25"])
        device.apply(
            manifests.listed(
                manifests.deployment("web", manifests.web(), replicas=2),
                manifests.service("web"),
                manifests.pod("ticks", manifests.container(TICKS)),
                manifests.pod("fails", manifests.container("sleep 1; exit 3")),
                manifests.once("done", "echo result"),
            )
        )
        device.rollout("deploy/web")
        device.wait("pod/ticks", "condition=Ready")
        device.wait("pod/done", "jsonpath={.status.phase}=Succeeded")
        device.wait("pod/fails", "jsonpath={.status.containerStatuses[0].restartCount}=1")
        yield device
        assert "Traceback" not in device.log()
    finally:
        device.down()


def pids(lab: labs.Lab) -> dict[str, int]:
    """The process of every container that is meant to run, by pod."""
    pods = lab.items("pods")
    steady = [p for p in pods if p["metadata"]["name"] not in ("fails", "done")]
    return {p["metadata"]["name"]: container_pid(lab, p) for p in steady}


def restart_counts(lab: labs.Lab) -> dict[str, int]:
    return {
        p["metadata"]["name"]: p["status"]["containerStatuses"][0]["restartCount"]
        for p in lab.items("pods")
    }


def specs(lab: labs.Lab) -> dict[str, object]:
    """Everything that users and controllers decided, by uid."""
    wanted = "deploy,rs,pods,svc,configmaps,secrets,serviceaccounts,namespaces,nodes"
    return {
        o["metadata"]["uid"]: (o["kind"], o.get("spec"), o.get("data"), o["metadata"].get("labels"))
        for o in lab.items(wanted, "-A")
    }


def ticks(lab: labs.Lab) -> list[int]:
    return [int(n) for n in re.findall(r"^tick (\d+)$", lab.kubectl("logs", "ticks"), re.MULTILINE)]


@pytest.mark.ask(20)
@pytest.mark.parametrize("verb", ["kill", "stop"])
def test_containers_and_objects_outlive_edgeorch(own: labs.Lab, verb: str) -> None:
    before, objects, counts = pids(own), specs(own), restart_counts(own)
    last = ticks(own)[-1]
    port = int(own.get("svc/web")["spec"]["ports"][0]["nodePort"])
    with clients.steady(own.device.lan, own.address, port, "/version") as seen:
        own.lab(verb)
        # Services go on without edgeorch: they are the kernel's.
        labs.until(lambda: seen.count > 20, "requests while it is down")
        began = time.monotonic()
        own.lab("start")
        own.kubectl("create", "configmap", f"after-{verb}", "--from-literal=a=b")
        took = time.monotonic() - began
        labs.until(lambda: ticks(own)[-1] > last + 5, "the log goes on")
    assert not seen.failures
    assert took < WRITES_AGAIN_SECONDS
    assert pids(own) == before
    # One configmap more, nothing less and nothing else.
    now = specs(own)
    assert {uid: now.get(uid) for uid in objects} == objects
    assert len(now) == len(objects) + 1
    after = restart_counts(own)
    assert {name: n for name, n in after.items() if name != "fails"} == {
        name: n for name, n in counts.items() if name != "fails"
    }
    assert after["fails"] >= counts["fails"]
    # Not a line lost or doubled while nobody read the pipe.
    found = ticks(own)
    assert found == list(range(found[0], found[-1] + 1))
    assert own.kubectl("logs", "done") == "result\n"
    assert own.get("pod/done")["status"]["phase"] == "Succeeded"


def test_last_words_while_edgeorch_is_dead_are_not_lost(own: labs.Lab) -> None:
    """A container that ends then: its pipe is held open by the service manager."""
    words = "seq 1 5000; echo -n end; exit 0"
    script = f"trap '{words}' TERM; echo ready; while :; do sleep 3600 & wait $!; done"
    own.apply(manifests.once("parts", script))
    own.wait("pod/parts", "condition=Ready")
    labs.until(lambda: own.kubectl("logs", "parts") == "ready\n", "the trap is set")
    pid = container_pid(own, own.get("pod/parts"))
    own.lab("kill")
    os.kill(pid, signal.SIGTERM)
    labs.until(lambda: not Path(f"/proc/{pid}").exists(), "the container's end")
    own.lab("start")
    own.wait("pod/parts", "jsonpath={.status.phase}=Succeeded")
    said = ["ready", *(str(number) for number in range(1, 5001)), "end"]
    assert own.kubectl("logs", "parts") == "\n".join(said)
    own.kubectl("delete", "pod", "parts")


def test_back_off_goes_on_where_it_stood(own: labs.Lab) -> None:
    """A restart of edgeorch is no reason to start a failing container at once, or anew at 10 s."""
    path = "/api/v1/namespaces/default/pods/fails"

    def waiting() -> labs.Object | None:
        status: labs.Object = own.api("GET", path).json["status"]["containerStatuses"][0]
        return status if "back-off" in str(status["state"]) else None

    before = labs.until(waiting, "back-off")
    assert before is not None
    own.lab("kill")
    own.lab("start")
    after = labs.until(waiting, "back-off again")
    assert after is not None
    assert after["restartCount"] - before["restartCount"] in (0, 1)
    if after["restartCount"] == before["restartCount"]:
        assert after["state"]["waiting"]["message"] == before["state"]["waiting"]["message"]
        assert after["lastState"] == before["lastState"]


def test_what_died_meanwhile_is_mended_at_the_start(own: labs.Lab) -> None:
    pod = own.items("pods", "-l", "app=web")[0]
    name, victim = pod["metadata"]["name"], container_pid(own, pod)
    own.lab("kill")
    os.kill(victim, signal.SIGKILL)
    own.lab("start")
    own.wait(f"pod/{name}", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    own.wait(f"pod/{name}", "condition=Ready")
    last = own.get("pod", name)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 137
    own.kubectl("delete", "pod", name)
    own.rollout("deploy/web")


def test_a_pod_deleted_just_before_the_end_is_gone_after(own: labs.Lab) -> None:
    own.apply(manifests.pod("leaves"))
    own.wait("pod/leaves", "condition=Ready")
    leaving = container_pid(own, own.get("pod/leaves"))
    own.kubectl("delete", "pod", "leaves", "--wait=false")
    own.lab("kill")
    own.lab("start")
    own.kubectl("wait", "pod/leaves", "--for=delete", "--timeout=30s")
    assert kernel.started_at(leaving) is None


@pytest.mark.ask(20)
def test_no_acknowledged_write_is_lost(own: labs.Lab) -> None:
    """Killed in the midst of writes: what was answered is there."""
    accepted: dict[str, int] = {}

    def write() -> None:
        for number in range(10_000):
            name = f"written-{number}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            try:
                answer = own.api("POST", CONFIG_MAPS, body)
            except OSError:
                return
            if answer.status == 201:
                accepted[name] = int(answer.json["metadata"]["resourceVersion"])

    writer = threading.Thread(target=write)
    writer.start()
    labs.until(lambda: len(accepted) > 50, "writes")
    own.lab("kill")
    writer.join()
    own.lab("start")
    kept = {o["metadata"]["name"] for o in own.items("configmaps")}
    assert set(accepted) <= kept
    # The next version is a later one.
    own.kubectl("create", "configmap", "next")
    newest = int(own.get("configmap/next")["metadata"]["resourceVersion"])
    assert newest > max(accepted.values())
    own.api("DELETE", CONFIG_MAPS)


def test_a_watch_goes_on_after_a_restart(own: labs.Lab) -> None:
    """A client's informer: its old version is too old or still good, never wrong."""
    with own.background("get", "configmaps", "-w", "-o", "name") as watch:
        own.kubectl("create", "configmap", "before")
        watch.until("configmap/before")
        version = own.api("GET", CONFIG_MAPS).json["metadata"]["resourceVersion"]
        own.lab("kill")
    own.lab("start")
    url = f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    own.kubectl("create", "configmap", "after")
    told = own.api("GET", url)
    body = told.body.decode()
    if told.status == 200 and '"ERROR"' not in body:
        assert '"after"' in body
        assert '"before"' not in body
    else:
        assert '"code":410' in body
        assert '"reason":"Expired"' in body


def test_containerd_dies_and_comes_back(own: labs.Lab) -> None:
    before, counts = pids(own), restart_counts(own)
    pid = kernel.read_pid(own.device.pid_file("containerd"))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def unready() -> bool:
        answer = own.health("/readyz")
        return answer.status == 500 and b"containerd" in answer.body

    labs.until(unready, "/readyz names containerd")
    assert own.health("/livez").status == 200
    # The API goes on meanwhile, and takes orders.
    own.kubectl("scale", "deploy/web", "--replicas=3")
    last = ticks(own)[-1]
    labs.until(lambda: ticks(own)[-1] > last + 3, "the log goes on without containerd")
    own.lab("start")
    labs.until(lambda: own.health("/readyz").status == 200, "ready by itself")
    own.rollout("deploy/web")
    after = pids(own)
    assert {name: after.get(name) for name in before} == before
    assert {n: c for n, c in restart_counts(own).items() if n in counts and n != "fails"} == {
        n: c for n, c in counts.items() if n != "fails"
    }
    own.kubectl("scale", "deploy/web", "--replicas=2")
    own.rollout("deploy/web")


def test_both_die_as_in_a_power_cut(new_lab: NewLab, images: dict[str, Path]) -> None:
    """All processes at once and nothing flushed by them; then a boot: pods run again."""
    lab = new_lab(load=(images["busybox-latest"],))
    lab.apply(
        manifests.listed(
            manifests.deployment("web", replicas=2),
            manifests.once("done", "exit 0"),
        )
    )
    lab.rollout("deploy/web")
    lab.wait("pod/done", "jsonpath={.status.phase}=Succeeded")
    before = specs(lab)
    victims = kernel.cgroup_pids(lab.device.cgroup)
    for pid in sorted(victims):
        kernel.send(pid, signal.SIGKILL)
    labs.until(lambda: not kernel.cgroup_pids(lab.device.cgroup), "all are dead")
    # What a boot clears.
    lab.run("sh", "-c", "nft flush ruleset")
    lab.up()
    lab.rollout("deploy/web")
    labs.until(
        lambda: all(c["ready"] for p in lab.items("pods", "-l", "app=web")
                    for c in p["status"]["containerStatuses"]),
        "containers run again",
    )  # fmt: skip
    now = specs(lab)
    assert {uid: now.get(uid) for uid in before} == before
    assert "Traceback" not in lab.log()
