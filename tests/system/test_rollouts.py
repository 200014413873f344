"""Deployments change without a request failing, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from . import clients, manifests
from . import lab as labs

N = ("-n", "rollouts")


@pytest.fixture(scope="module")
def space(lab: labs.Lab) -> Iterator[None]:
    lab.kubectl("create", "namespace", "rollouts")
    yield
    lab.kubectl("delete", "namespace", "rollouts")


@pytest.fixture
def web(lab: labs.Lab, space: None) -> Iterator[int]:
    """A Deployment of three web servers, and the port of the node at which they answer."""
    # The server goes on while the proxy's rules forget the pod; a `stop` signal ends it softly.
    hook = {"preStop": {"exec": {"command": ["sleep", "1"]}}}
    made = manifests.deployment("web", manifests.web(lifecycle=hook), replicas=3)
    made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5
    lab.apply(manifests.listed(made, manifests.service("web")), *N)
    lab.rollout("deploy/web", *N)
    yield int(lab.get("svc/web", *N)["spec"]["ports"][0]["nodePort"])
    lab.kubectl("delete", "deploy/web", "svc/web", *N)
    labs.until(lambda: not lab.items("pods", *N), "no pods")


def versions(seen: clients.Steady) -> set[bytes]:
    return set(seen.answers)


def test_scale_up_and_down(lab: labs.Lab, web: int) -> None:
    for count in (5, 2):
        told = lab.kubectl("scale", "deploy/web", f"--replicas={count}", *N)
        assert told == "deployment.apps/web scaled\n"
        lab.rollout("deploy/web", *N)
        labs.until(lambda count=count: len(lab.items("pods", *N)) == count, f"{count} pods")  # type: ignore[misc]
        status = lab.get("deploy/web", *N)["status"]
        assert (status["replicas"], status["availableReplicas"]) == (count, count)


def test_a_restart_fails_no_request(lab: labs.Lab, web: int) -> None:
    before = {p["metadata"]["uid"] for p in lab.items("pods", *N)}
    with clients.steady(lab.device.netns, "127.0.0.1", web, "/hostname") as seen:
        assert lab.kubectl("rollout", "restart", "deploy/web", *N) == (
            "deployment.apps/web restarted\n"
        )
        lab.rollout("deploy/web", *N)
        labs.until(lambda: len(lab.items("pods", *N)) == 3, "the old ones have gone")
    assert not seen.failures, f"{len(seen.failures)} of {seen.count}: {set(seen.failures)}"
    assert before.isdisjoint({p["metadata"]["uid"] for p in lab.items("pods", *N)})


@pytest.mark.ask(19)
def test_a_bad_image_gets_stuck_and_the_old_pods_serve(lab: labs.Lab, web: int) -> None:
    with clients.steady(lab.device.lan, lab.address, web, "/version", every=0.02) as seen:
        lab.kubectl("set", "image", "deploy/web", "web=nginx:no-such", *N)

        def stuck() -> bool:
            told = lab.kubectl("get", "pods", "--no-headers", *N)
            return bool(re.search("ErrImagePull|ImagePullBackOff", told))

        labs.until(stuck, "a pod that cannot pull")
        told = lab.try_kubectl("rollout", "status", "deploy/web", "--timeout=1s", *N)
        assert told.returncode == 1
        assert "1 out of 3 new replicas have been updated" in told.stdout
        status = lab.get("deploy/web", *N)["status"]
        assert status["availableReplicas"] == 3
        assert (status["updatedReplicas"], status["unavailableReplicas"]) == (1, 1)
        lab.kubectl("rollout", "undo", "deploy/web", *N)
        lab.rollout("deploy/web", *N)
    assert not seen.failures
    assert versions(seen) == {b"1.25"}


def test_history_and_undo_to_a_revision(lab: labs.Lab, web: int) -> None:
    lab.kubectl("annotate", "deploy/web", "kubernetes.io/change-cause=first", *N)
    lab.kubectl("set", "env", "deploy/web", "STEP=two", *N)
    lab.rollout("deploy/web", *N)
    lab.kubectl("annotate", "deploy/web", "kubernetes.io/change-cause=second", "--overwrite", *N)
    lab.kubectl("set", "env", "deploy/web", "STEP=three", *N)
    lab.rollout("deploy/web", *N)
    told = lab.kubectl("rollout", "history", "deploy/web", *N)
    assert re.findall(r"^(\d+)\s+(\S+)", told, re.MULTILINE)[:2] == [
        ("1", "first"),
        ("2", "second"),
    ]
    assert re.search("^3 ", told, re.MULTILINE)
    shown = lab.kubectl("rollout", "history", "deploy/web", "--revision=2", *N)
    assert re.search(r"STEP:\s+two", shown)
    lab.kubectl("rollout", "undo", "deploy/web", "--to-revision=1", *N)
    lab.rollout("deploy/web", *N)
    found = lab.get("deploy/web", *N)
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"
    assert "env" not in found["spec"]["template"]["spec"]["containers"][0]
    # The old ReplicaSet is used again, under a new number.
    told = lab.kubectl("rollout", "history", "deploy/web", *N)
    assert [number for number, _ in re.findall(r"^(\d+)\s+(\S+)", told, re.MULTILINE)] == [
        "2", "3", "4",
    ]  # fmt: skip
    assert len(lab.items("rs", *N)) == 3


def test_pause_and_resume(lab: labs.Lab, web: int) -> None:
    assert lab.kubectl("rollout", "pause", "deploy/web", *N) == "deployment.apps/web paused\n"
    lab.kubectl("set", "image", "deploy/web", "web=nginx:1.26", *N)
    lab.kubectl("set", "env", "deploy/web", "A=b", *N)
    lab.wait("deploy/web", "jsonpath={.status.observedGeneration}=4", *N)
    assert len(lab.items("rs", *N)) == 1
    conditions = {c["type"]: c["reason"] for c in lab.get("deploy/web", *N)["status"]["conditions"]}
    assert conditions["Progressing"] == "DeploymentPaused"
    lab.kubectl("scale", "deploy/web", "--replicas=2", *N)
    labs.until(lambda: len(lab.items("pods", *N)) == 2, "a paused one is still scaled")
    lab.kubectl("rollout", "resume", "deploy/web", *N)
    lab.rollout("deploy/web", *N)
    # Both changes went out as one.
    assert len(lab.items("rs", *N)) == 2
    assert lab.fetch(lab.address, web, "/version").strip() == b"1.26"


def test_recreate_never_runs_both(lab: labs.Lab, space: None) -> None:
    made = manifests.deployment("once", replicas=2, strategy={"type": "Recreate"})
    lab.apply(made, *N)
    lab.rollout("deploy/once", *N)
    with lab.background(
        "get", "pods", "-l", "app=once", "-w", "--output-watch-events", "-o",
        "jsonpath={.type} {.object.metadata.name} {.object.status.phase}{'\\n'}", *N,
    ) as watch:  # fmt: skip
        watch.until("ADDED")
        lab.kubectl("set", "env", "deploy/once", "A=b", *N)
        lab.rollout("deploy/once", *N)
        labs.until(lambda: sum("Running" in line for line in watch.lines) >= 4, "the new pods")
        lines = [line.split() for line in watch.lines]
    old = {name for kind, name, *_ in lines[:2]}
    new = min(i for i, (kind, name, *_) in enumerate(lines) if kind == "ADDED" and name not in old)
    ended = {name for _, name, phase in lines[:new] if phase == "Succeeded"}
    assert ended == old
    lab.kubectl("delete", "deploy/once", *N)


def test_a_deadline_that_passes_is_told(lab: labs.Lab, space: None) -> None:
    container = manifests.container(readinessProbe={"exec": {"command": ["false"]}})
    lab.apply(manifests.deployment("never", container, progressDeadlineSeconds=2), *N)
    told = lab.try_kubectl("rollout", "status", "deploy/never", "--timeout=60s", *N, seconds=70)
    assert told.returncode == 1
    assert 'deployment "never" exceeded its progress deadline' in told.stderr
    conditions = {c["type"]: c for c in lab.get("deploy/never", *N)["status"]["conditions"]}
    progressing = conditions["Progressing"]
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
    lab.kubectl("delete", "deploy/never", *N)
