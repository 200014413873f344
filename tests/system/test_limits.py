"""Limits are the kernel's, and what goes beyond them is told as on Kubernetes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.lablib import kernel

from . import lab as labs
from . import manifests
from .test_self_healing import container_pid

MEBI = 1024 * 1024


def setting(pid: int, unified: str, controller: str, legacy: str) -> str:
    """A process's cgroup setting by its name in version 2, or in version 1."""
    trees = kernel.hierarchies(kernel.mounts())
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for tree, controllers in trees.items():
        for _, names, path in groups:
            group = tree / path.lstrip("/")
            if controller in controllers and controller in names.split(","):
                return (group / legacy).read_text().strip()
    for tree, controllers in trees.items():
        for _, names, path in groups:
            if "unified" in controllers and not names:
                return (tree / path.lstrip("/") / unified).read_text().strip()
    raise AssertionError(f"{controller} is in no hierarchy")


def cpu_quota(pid: int) -> tuple[int, int]:
    """Quota and period in microseconds."""
    both = setting(pid, "cpu.max", "cpu", "cpu.cfs_quota_us").split()
    if len(both) == 2:
        return int(both[0]), int(both[1])
    return int(both[0]), int(setting(pid, "cpu.max", "cpu", "cpu.cfs_period_us"))


def test_limits_are_in_the_cgroup(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    resources = {
        "requests": {"memory": "64Mi", "cpu": "50m"},
        "limits": {"memory": "128Mi", "cpu": "200m"},
    }
    lab.apply(manifests.pod("p", manifests.container(resources=resources)), *n)
    lab.wait("pod/p", "condition=Ready", *n)
    pid = container_pid(lab, lab.get("pod/p", *n))
    memory = setting(pid, "memory.max", "memory", "memory.limit_in_bytes")
    assert int(memory) == 128 * MEBI
    quota, period = cpu_quota(pid)
    assert quota / period == pytest.approx(0.2)
    # 50m of a CPU, in the units of each version.
    shares = int(setting(pid, "cpu.weight", "cpu", "cpu.shares"))
    assert shares in (51, 2)
    # It lies under the device's own group, where the lab (or the unit) bounds it all.
    assert lab.device.cgroup in Path(f"/proc/{pid}/cgroup").read_text()


@pytest.mark.parametrize(
    ("name", "resources", "quality", "score"),
    [
        ("guaranteed", {"limits": {"memory": "64Mi", "cpu": "100m"}}, "Guaranteed", range(-998, 3)),
        ("burstable", {"requests": {"memory": "64Mi"}}, "Burstable", range(3, 1000)),
        ("best-effort", {}, "BestEffort", range(1000, 1001)),
    ],
)
def test_quality_of_service(
    lab: labs.Lab, namespace: str, name: str, resources: labs.Object, quality: str, score: range
) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.pod(name, manifests.container(resources=resources)), *n)
    lab.wait(f"pod/{name}", "condition=Ready", *n)
    pod = lab.get("pod", name, *n)
    assert pod["status"]["qosClass"] == quality
    adjusted = int(Path(f"/proc/{container_pid(lab, pod)}/oom_score_adj").read_text())
    # A process may not go below its starter's; where it can, the score is Kubernetes'.
    assert adjusted in score or adjusted == int(Path("/proc/self/oom_score_adj").read_text())


def test_too_much_memory_is_told(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    hungry = manifests.container(
        "exec awk 'BEGIN { s = \"x\"; while (1) s = s s }'",
        resources={"limits": {"memory": "32Mi"}},
    )
    lab.apply(manifests.pod("hungry", hungry, restartPolicy="Never"), *n)
    lab.wait("pod/hungry", "jsonpath={.status.phase}=Failed", *n)
    ended = lab.get("pod/hungry", *n)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert "OOMKilled" in lab.kubectl("get", "pod", "hungry", *n)


def test_a_pod_that_does_not_fit_waits(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    huge = manifests.container(resources={"requests": {"memory": "1Ti"}})
    lab.apply(manifests.pod("huge", huge), *n)
    lab.wait("pod/huge", "condition=PodScheduled=false", *n)
    pod = lab.get("pod/huge", *n)
    assert pod["status"]["phase"] == "Pending"
    (condition,) = [c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient memory")
    labs.until(
        lambda: any(e["reason"] == "FailedScheduling" for e in lab.items("events", *n)), "the event"
    )


def test_security_settings_reach_the_process(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    security = {
        "runAsUser": 1234,
        "runAsGroup": 2345,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    script = "id; touch /x 2>/dev/null || echo read only; " + manifests.IDLE
    lab.apply(manifests.pod("safe", manifests.container(script, securityContext=security)), *n)
    lab.wait("pod/safe", "condition=Ready", *n)
    pid = container_pid(lab, lab.get("pod/safe", *n))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["1234"] * 4
    assert status["Gid"].split() == ["2345"] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    labs.until(lambda: "read only" in lab.try_kubectl("logs", "safe", *n).stdout, "a refused write")
    assert os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
