"""kill -9 of edgeorch, of containerd, of shims, at random moments of a busy device.

Afterwards every object is as desired or says why not, nothing is left that no object explains
(census.py), and what no kill has hit has not been restarted. The seed is printed; the moments are
the machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeorch.net import links
from scripts.lablib import kernel

from . import busy, census, clients, manifests
from . import lab as labs
from .test_self_healing import container_pid

BURST = 6
"""Kills between two looks at everything."""


@pytest.fixture(scope="module")
def own(
    no_stale_labs: None, images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[labs.Lab]:
    device = labs.Lab(f"t{os.getpid()}-kills")
    config = tmp_path_factory.mktemp("kills") / "config.yaml"
    # Back-off would only be waited for.
    config.write_text("pods: {crash_loop_ceiling: 1}\nnode: {max_pods: 200}\n")
    try:
        device.up("--config", str(config))
        device.load(images["busybox-latest"])
        device.apply(
            manifests.listed(
                manifests.pod(
                    "quiet", manifests.container(manifests.NAMES), labels={"app": "quiet"}
                ),
                manifests.service("quiet"),
                *busy.belongings(),
            )
        )
        device.wait("pod/quiet", "condition=Ready")
        device.rollout("deploy/web")
        census.settled(device)
        yield device
    finally:
        device.down()


# --- what kills ----------------------------------------------------------------------------------


class Killer:
    def __init__(self, lab: labs.Lab, chance: random.Random, spared: int) -> None:
        self._lab = lab
        self._chance = chance
        self._spared = spared

    def strike(self) -> str:
        what = self._chance.choice(
            ["edgeorch", "edgeorch", "containerd", "containerd", "shim", "shim", "both", "lost"]
        )
        time.sleep(self._chance.uniform(0, 0.8))
        getattr(self, f"_{what}")()
        return what

    def _edgeorch(self) -> None:
        self._lab.lab("kill")
        time.sleep(self._chance.uniform(0, 0.4))
        self._lab.lab("start")

    def _containerd(self) -> None:
        self._lab.lab("containerd", self._chance.choice(["kill", "kill", "kill", "stop"]))
        time.sleep(self._chance.uniform(0, 1.5))
        self._lab.lab("containerd", "start")

    def _both(self) -> None:
        self._lab.lab("kill")
        self._lab.lab("containerd", "kill")
        time.sleep(self._chance.uniform(0, 0.4))
        self._lab.lab("start")

    def _shim(self) -> None:
        candidates = sorted(set(census.shims(self._lab)) - {self._spared})
        if candidates:
            kernel.send(self._chance.choice(candidates), signal.SIGKILL)

    def _lost(self) -> None:
        """A shim ends while nobody is there to hear of it."""
        self._lab.lab("containerd", "kill")
        self._shim()
        self._lab.lab("containerd", "start")


# --- what must be --------------------------------------------------------------------------------


def unfinished(lab: labs.Lab) -> list[str]:
    """Objects that are not as desired."""
    found = []
    for deployment in lab.api("GET", "/apis/apps/v1/deployments").json["items"]:
        spec, status = deployment["spec"], deployment["status"]
        done = (
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("replicas", 0) == spec["replicas"]
            and status.get("updatedReplicas", 0) == spec["replicas"]
            and status.get("availableReplicas", 0) == spec["replicas"]
        )
        if not done:
            found.append(f"deployment {deployment['metadata']['name']}: {status}")
    pods = lab.api("GET", "/api/v1/pods").json["items"]
    for job in lab.api("GET", "/apis/batch/v1/jobs").json["items"]:
        found += _miscounted(job, pods)
    for pod in pods:
        status = pod["status"]
        ready = "Ready" in _true(status)
        if not ready and status["phase"] not in ("Succeeded", "Failed"):
            states = [entry.get("state") for entry in status.get("containerStatuses", [])]
            found.append(f"pod {pod['metadata']['name']} {status['phase']}: {states}")
        if pod["metadata"].get("deletionTimestamp"):
            found.append(f"pod {pod['metadata']['name']} is still being deleted")
    return found


def _true(status: labs.Object) -> set[str]:
    """Conditions; what has just been made has none yet."""
    return {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}


def _miscounted(job: labs.Object, pods: list[labs.Object]) -> list[str]:
    name, status = job["metadata"]["name"], job["status"]
    mine = [
        pod
        for pod in pods
        if any(
            o["uid"] == job["metadata"]["uid"] for o in pod["metadata"].get("ownerReferences", [])
        )
    ]
    counts = {
        phase: sum(pod["status"]["phase"] == phase for pod in mine)
        for phase in ("Succeeded", "Failed")
    }
    told = {"Succeeded": status.get("succeeded", 0), "Failed": status.get("failed", 0)}
    complete = "Complete" in _true(status)
    if not complete or told != counts or told["Succeeded"] != job["spec"]["completions"]:
        return [f"job {name}: {status}, its pods {counts}"]
    return []


def at_rest(lab: labs.Lab, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while found := unfinished(lab):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s:\n" + "\n".join(found)
        time.sleep(0.1)
    census.settled(lab)


@pytest.mark.timeout(3600)  # the full form
def test_kills_at_random_moments_of_a_busy_device(own: labs.Lab, tmp_path: Path) -> None:
    seed = int(os.environ.get("EDGEORCH_SEED") or random.randrange(10**6))
    total = labs.rounds(4, 200)
    chance = random.Random(seed)
    quiet = own.get("pod/quiet")
    pid = container_pid(own, quiet)
    shim = next(shim for shim, children in census.shims(own).items() if pid in children)
    killer = Killer(own, chance, shim)
    port = int(own.get("svc/quiet")["spec"]["ports"][0]["nodePort"])
    done: list[str] = []
    with contextlib.ExitStack() as stack:
        references = stack.enter_context(busy.slow_registry(own, tmp_path, min(2 * total, 60)))
        seen = stack.enter_context(clients.steady(own.device.lan, own.address, port, every=0.05))
        user = busy.User(own, chance.randrange(10**6), references)
        while len(done) < total:
            print(f"seed {seed}, kills so far: {' '.join(done)}", flush=True)
            with user.busy():
                for _ in range(min(BURST, total - len(done))):
                    done.append(killer.strike())
            at_rest(own)
            user.clear()
        at_rest(own)
    assert not seen.failures
    after = own.get("pod/quiet")
    assert container_pid(own, after) == pid
    assert after["status"]["containerStatuses"] == quiet["status"]["containerStatuses"]
    assert "Traceback" not in own.log()
    assert "Unexpected failure" not in own.log()


def test_a_shim_dies_while_containerd_is_away(own: labs.Lab) -> None:
    """Nobody saw how its containers ended: told as the CRI tells it, and started again once."""
    own.apply(manifests.pod("unseen"))
    own.wait("pod/unseen", "condition=Ready")
    pid = container_pid(own, own.get("pod/unseen"))
    shim = next(shim for shim, children in census.shims(own).items() if pid in children)
    own.lab("containerd", "kill")
    kernel.send(shim, signal.SIGKILL)
    labs.until(lambda: own.health("/readyz").status == 500, "containerd is missed")
    assert own.get("pod/unseen")["status"]["containerStatuses"][0]["state"].get("running")
    own.lab("containerd", "start")
    own.wait("pod/unseen", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    last = own.get("pod/unseen")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (255, "Unknown")
    own.kubectl("delete", "pod", "unseen")
    at_rest(own)


RUNS = "echo run >>/disk/runs; echo run >>/memory/runs; "


@pytest.mark.ask(10)
def test_a_reboot(own: labs.Lab) -> None:
    """Everything that dies with a boot is gone, and every record is of a former one."""
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("disk", "memory")]
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]

    def pod(policy: str, script: str) -> labs.Object:
        main = manifests.container(RUNS + script, volumeMounts=mounts)
        name = f"boot-{policy.lower()}" + ("" if script == manifests.IDLE else "-done")
        return manifests.pod(name, main, volumes=volumes, restartPolicy=policy)

    own.apply(
        manifests.listed(
            *(pod(policy, manifests.IDLE) for policy in ("Always", "OnFailure", "Never")),
            *(pod(policy, "exit 0") for policy in ("OnFailure", "Never")),
        )
    )
    for name in ("always", "onfailure", "never"):
        own.wait(f"pod/boot-{name}", "condition=Ready")
    for name in ("onfailure-done", "never-done"):
        own.wait(f"pod/boot-{name}", "jsonpath={.status.phase}=Succeeded")
    census.settled(own)
    reboot(own)
    for name in ("always", "onfailure"):
        own.wait(f"pod/boot-{name}", "condition=Ready")
        status = own.get(f"pod/boot-{name}")["status"]["containerStatuses"][0]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["reason"] == "Unknown"
        kept = own.kubectl("exec", f"boot-{name}", "--", "cat", "/disk/runs", "/memory/runs")
        assert kept == "run\n" * 3
    own.wait("pod/boot-never", "jsonpath={.status.phase}=Failed")
    for name in ("onfailure-done", "never-done"):
        status = own.get(f"pod/boot-{name}")["status"]
        assert status["phase"] == "Succeeded"
        assert status["containerStatuses"][0]["restartCount"] == 0
    at_rest(own)
    assert "Traceback" not in own.log()


def reboot(lab: labs.Lab) -> None:
    """The machine's boot id stays, so the records are made those of another boot instead."""
    for identity in lab.run("ctr", "container", "list", "-q").stdout.split():
        lab.run("ctr", "container", "label", identity, "edgeorch.io/boot=former")
    device = lab.device
    for pid in kernel.cgroup_pids(device.cgroup):
        kernel.send(pid, signal.SIGKILL)
    labs.until(lambda: not kernel.cgroup_pids(device.cgroup), "all are dead")
    for point in kernel.beneath(kernel.mounts(), [device.run]):
        kernel.unmount(point)
    for folder in ("edgeorch", "containerd"):
        shutil.rmtree(device.run / folder)
    for state in census.runc_states(lab):
        shutil.rmtree(state)
    for group in kernel.cgroup_dirs(f"{device.cgroup}/kubepods"):
        group.rmdir()
    lab.run("nft", "flush", "ruleset")
    lab.run("ip", "link", "delete", "edgeorch0")
    for entry in json.loads(lab.run("ip", "-j", "link").stdout):
        if links.is_host_name(entry["ifname"]):
            lab.run("ip", "link", "delete", entry["ifname"], check=False)
    lab.up()
