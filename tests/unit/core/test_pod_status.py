"""Status as the kubelet reports it, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from edgeorch.core import pod_status
from edgeorch.core.observed import Container, Failure, Held, Kind, PodSeen, ProbeKind, State
from tests.unit.core import pods

NOW = "2026-01-01T00:00:00Z"
AROUND = pod_status.Surroundings(now=NOW, monotonic=1000.0, host_ip="192.0.2.1")


def derive(pod: Any, seen: PodSeen, old: Any = None) -> dict[str, Any]:
    return pod_status.derive(pod, seen, old or {}, AROUND)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_pod_just_accepted() -> None:
    status = derive(pods.pod(), PodSeen())

    assert status["phase"] == "Pending"
    assert status["startTime"] == NOW
    assert status["containerStatuses"][0] == {
        "name": "main",
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "started": False,
    }
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }
    ready = next(entry for entry in status["conditions"] if entry["type"] == "Ready")
    assert ready["reason"] == "ContainersNotReady"
    assert ready["message"] == "containers with unready status: [main]"


@pytest.mark.parametrize(
    ("containers", "volumes", "ready"),
    [
        pytest.param((), None, "False", id="a volume is missing"),
        pytest.param((), "", "True", id="volumes stand"),
        pytest.param((pods.container(),), None, "True", id="runs, and is looked at anew"),
        pytest.param((pods.container(state=State.CREATED),), None, "False", id="not begun"),
    ],
)
def test_ready_to_start_once_the_volumes_stand(
    containers: tuple[Container, ...], volumes: str | None, ready: str
) -> None:
    status = derive(pods.pod(), pods.seen(*containers, volumes=volumes))

    assert conditions(status)["PodReadyToStartContainers"] == ready


def test_a_running_pod() -> None:
    here = pods.seen(
        pods.container(started="2026-01-01T00:00:00Z", image="full", image_id="full@x")
    )
    status = derive(pods.pod(), here)
    entry = status["containerStatuses"][0]

    assert status["phase"] == "Running"
    assert status["podIPs"] == [{"ip": "10.42.0.2"}]
    assert entry["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert (entry["ready"], entry["started"], entry["containerID"]) == (
        True, True, "containerd://u-main-0"
    )  # fmt: skip
    assert set(conditions(status).values()) == {"True"}


def test_crash_loop() -> None:
    last = pods.container(
        attempt=3, exit=pods.ended(2, at=999.0, container_id="x"), started_at=998.0, crashes=3
    )
    status = derive(pods.pod(), pods.seen(last))
    entry = status["containerStatuses"][0]

    assert status["phase"] == "Running"
    assert entry["restartCount"] == 3
    told = "back-off 40s restarting failed container=main pod=p_default(u)"
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": told}}
    assert entry["lastState"]["terminated"]["exitCode"] == 2


@pytest.mark.parametrize(
    ("seconds", "told"), [(10, "10s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s")]
)
def test_durations_read_as_go_writes_them(seconds: float, told: str) -> None:
    assert pod_status.back_off_message(pods.pod(), "c", seconds).startswith(f"back-off {told} ")


def test_what_holds_a_container_up_is_its_reason() -> None:
    here = pods.seen(failures={"image/main": Failure("ImagePullBackOff", "why", 1010.0)})
    status = derive(pods.pod(), here)

    waiting = status["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ImagePullBackOff", "message": "why"}
    assert status["phase"] == "Pending"


@pytest.mark.parametrize(
    ("topic", "reason"),
    [("create/main", "ContainerCreating"), ("image/main", "ErrImagePull")],
)
def test_a_sandbox_that_fails_comes_before_the_container(topic: str, reason: str) -> None:
    failures = {
        "sandbox": Failure("FailedCreatePodSandBox", "no", 1010.0),
        topic: Failure("ErrImagePull", "why", 1010.0),
    }
    status = derive(pods.pod(), PodSeen(failures=failures))

    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        pytest.param("Never", (0, 0), "Succeeded", id="all well"),
        pytest.param("Never", (0, 1), "Failed", id="one failed"),
        pytest.param("OnFailure", (0, 0), "Succeeded", id="on failure, all well"),
        pytest.param("OnFailure", (0, 1), "Running", id="on failure, one comes back"),
        pytest.param("Always", (0, 0), "Running", id="always comes back"),
    ],
)
def test_phase_of_ended_containers(policy: str, codes: tuple[int, int], phase: str) -> None:
    names = ("a", "b")
    pod = pods.pod(restartPolicy=policy, containers=[{"name": n, "image": "i"} for n in names])
    ends = [
        pods.container(name, exit=pods.ended(code, at=999.0))
        for name, code in zip(names, codes, strict=True)
    ]

    assert derive(pod, pods.seen(*ends))["phase"] == phase


def test_no_terminal_phase_while_a_sidecar_runs() -> None:
    side = [{"name": "side", "image": "i", "restartPolicy": "Always"}]
    pod = pods.pod(restartPolicy="Never", initContainers=side)
    here = pods.seen(pods.container(exit=pods.ended(0)), pods.container("side", kind=Kind.SIDECAR))

    assert derive(pod, here)["phase"] == "Running"


def test_a_pod_that_ends_is_ready_while_it_answers_and_keeps_what_it_was() -> None:
    """EndpointSlices say that it is terminating, and whether it still serves."""
    pod = pods.pod(meta={"deletionTimestamp": NOW})
    status = derive(pod, pods.seen(pods.container(), ending_since=1000.0))
    assert conditions(status)["Ready"] == "True"
    last = derive(pod, pods.seen(pods.container(exit=pods.ended(0))), status)
    assert last["phase"] == "Succeeded"
    after = derive(pod, PodSeen(torn_down=True), last)

    assert after["containerStatuses"] == last["containerStatuses"]
    assert after["podIP"] == "10.42.0.2"


def test_readiness_and_startup_show() -> None:
    probes: dict[str, Any] = {"startupProbe": {}, "readinessProbe": {}}
    pod = pods.pod(containers=[{"name": "main", "image": "i", **probes}])
    entry = derive(pod, pods.seen(pods.container()))["containerStatuses"][0]
    assert (entry["started"], entry["ready"]) == (False, False)
    verdicts = {("u-main-0", kind): True for kind in (ProbeKind.STARTUP, ProbeKind.READINESS)}
    entry = derive(pod, pods.seen(pods.container(), probes=verdicts))["containerStatuses"][0]

    assert (entry["started"], entry["ready"]) == (True, True)


def test_readiness_gates() -> None:
    pod = pods.pod(readinessGates=[{"conditionType": "x/y"}])
    status = derive(pod, pods.seen(pods.container()))
    ready = next(entry for entry in status["conditions"] if entry["type"] == "Ready")
    told = 'corresponding condition of pod readiness gate "x/y" does not exist.'
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False", "ReadinessGatesNotReady", told
    )  # fmt: skip
    old = {"conditions": [{"type": "x/y", "status": "True"}]}
    status = derive(pod, pods.seen(pods.container()), old)

    assert conditions(status)["Ready"] == "True"
    assert conditions(status)["x/y"] == "True"


def test_init_containers_hold_the_others_back() -> None:
    pod = pods.pod(initContainers=[{"name": "one", "image": "i"}])
    status = derive(pod, pods.seen(pods.container("one", kind=Kind.INIT)))

    assert status["phase"] == "Pending"
    waiting = status["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "PodInitializing"}
    initialized = next(e for e in status["conditions"] if e["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [one]"


def test_transition_times_stay_while_nothing_changes() -> None:
    first = derive(pods.pod(), pods.seen(pods.container()))
    later = pod_status.Surroundings("2027-01-01T00:00:00Z", 2000.0, "192.0.2.1")

    assert pod_status.derive(pods.pod(), pods.seen(pods.container()), first, later)[
        "conditions"
    ] == first["conditions"]  # fmt: skip


def test_a_created_attempt_does_not_count_yet() -> None:
    made = pods.container(attempt=1, state=State.CREATED, last=pods.ended(1))
    entry = derive(pods.pod(), pods.seen(made))["containerStatuses"][0]

    assert entry["restartCount"] == 0
    assert entry["lastState"]["terminated"]["exitCode"] == 1


def test_addresses_follow_the_devices_and_stay_while_it_has_none() -> None:
    here = pods.seen(pods.container())
    moved = structs.replace(AROUND, host_ip="192.0.2.7")
    for pod, address in ((pods.pod(hostNetwork=True), "192.0.2.7"), (pods.pod(), "10.42.0.2")):
        before = derive(pod, here)
        after = pod_status.derive(pod, here, before, moved)
        assert (after["hostIP"], after["podIP"]) == ("192.0.2.7", address)
        assert after["containerStatuses"] == before["containerStatuses"]
        alone = structs.replace(AROUND, host_ip="")
        assert pod_status.derive(pod, here, after, alone) == after


def test_a_device_that_is_not_there_is_unhealthy() -> None:
    gps, cam = "devices.edgeorch.io/gps", "devices.edgeorch.io/cam"
    held = (Held(gps, "/dev/a", True), Held(cam, "/dev/v", True), Held(gps, "/dev/b", False))
    (status,) = derive(pods.pod(), pods.seen(pods.container(), devices={"main": held}))[
        "containerStatuses"
    ]

    told = {
        each["name"]: [(unit["resourceID"], unit["health"]) for unit in each["resources"]]
        for each in status["allocatedResourcesStatus"]
    }
    assert told == {
        gps: [("/dev/a", "Healthy"), ("/dev/b", "Unhealthy")],
        cam: [("/dev/v", "Healthy")],
    }
