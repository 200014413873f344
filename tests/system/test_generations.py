"""containerd 1.7 and 2.x serve as this machine's does: one telling round of a pod's life on each.

`EDGEORCH_CONTAINERD=2.x scripts/test tests/system` runs everything on one of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lablib import kernel
from tests import generations

from . import busy, census, manifests
from . import lab as labs
from .test_self_healing import container_pid

NewLab = Callable[..., labs.Lab]

EATS = "x=a; while :; do x=$x$x; done"


@pytest.fixture
def directory(generation: str) -> Path:
    try:
        return generations.directory(generation)
    except generations.Unfetched as error:
        pytest.skip(str(error))


def pods(reference: str) -> list[labs.Object]:
    probe = {"exec": {"command": ["test", "-e", "/v/ready"]}, "periodSeconds": 1}
    mounts = [{"name": "v", "mountPath": "/v"}]
    whole = manifests.pod(
        "whole",
        manifests.container(
            f"echo main says; touch /v/ready; {manifests.IDLE}",
            readinessProbe=probe,
            volumeMounts=mounts,
        ),
        initContainers=[
            manifests.container("echo first", "first", volumeMounts=mounts),
            manifests.container(name="beside", restartPolicy="Always"),
        ],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    limits = {"resources": {"limits": {"memory": "16Mi"}}}
    return [
        whole,
        manifests.pod("steady"),
        manifests.once("eats", EATS, **limits),
        manifests.once("pulled", "exit 0", image=reference),
    ]


@pytest.mark.parametrize("generation", generations.OTHERS)
def test_a_pods_life_on_another_containerd(
    new_lab: NewLab, images: dict[str, Path], directory: Path, generation: str, tmp_path: Path
) -> None:
    lab = new_lab("--containerd", str(directory), load=(images["busybox-latest"],))
    version = lab.items("nodes")[0]["status"]["nodeInfo"]["containerRuntimeVersion"]
    assert version.startswith(f"containerd://{generation.removesuffix('x')}")
    with busy.slow_registry(lab, tmp_path, 1) as references:
        lab.apply(manifests.listed(*pods(references[0])))
        lab.wait("pod/pulled", "jsonpath={.status.phase}=Succeeded")
    lab.wait("pod/whole", "condition=Ready")
    lab.wait("pod/eats", "jsonpath={.status.phase}=Failed")
    ended = lab.get("pod/eats")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert lab.kubectl("logs", "whole", "-c", "main") == "main says\n"
    assert lab.kubectl("logs", "whole", "-c", "first") == "first\n"
    assert lab.kubectl("exec", "whole", "-c", "main", "--", "cat", "/v/ready") == ""
    _outlives_kills(lab)
    lab.kubectl("delete", "pod", "--all")
    census.settled(lab)
    assert "Traceback" not in lab.log()


def _outlives_kills(lab: labs.Lab) -> None:
    whole, steady = lab.get("pod/whole"), lab.get("pod/steady")
    before = container_pid(lab, whole, "main"), container_pid(lab, steady)
    lab.lab("kill")
    lab.lab("start")
    lab.lab("containerd", "kill")
    lab.lab("containerd", "start")
    labs.until(lambda: lab.health("/readyz").status == 200, "ready again")
    assert (container_pid(lab, whole, "main"), container_pid(lab, steady)) == before
    assert (
        lab.get("pod/whole")["status"]["containerStatuses"] == whole["status"]["containerStatuses"]
    )
    lab.kubectl("exec", "whole", "-c", "main", "--", "rm", "/v/ready")
    lab.wait("pod/whole", "condition=Ready=false")
    shim_dies(lab, "whole")
    lab.wait("pod/whole", "condition=Ready")
    assert container_pid(lab, lab.get("pod/steady")) == before[1]


def shim_dies(lab: labs.Lab, name: str) -> None:
    """Every container of the pod ends with its shim, is told as killed, and is started again."""
    pod = lab.get("pod", name)
    pid = container_pid(lab, pod, "main")
    shim = next(shim for shim, children in census.shims(lab).items() if pid in children)
    os.kill(shim, signal.SIGKILL)
    lab.wait(f"pod/{name}", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    for entry in lab.get("pod", name)["status"]["containerStatuses"]:
        last = entry["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (137, "Error")
    labs.until(lambda: kernel.started_at(pid) is None, "its process is gone")
