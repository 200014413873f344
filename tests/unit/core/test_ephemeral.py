"""Ephemeral containers: added to look into a pod, run once, counted for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import actions, oci_spec, pod_phase, pod_plan, pod_status
from edgeorch.core.observed import Kind, PodSeen, State
from edgeorch.model import views
from tests.unit.core import pods

EXTRA = [{"name": "dbg", "image": "i", "targetContainerName": "main"}]
AROUND = pod_status.Surroundings(now="2026-01-01T00:00:00Z", monotonic=1000.0, host_ip="192.0.2.1")


def with_debugger(**spec: Any) -> views.Pod:
    return pods.pod(ephemeralContainers=EXTRA, **spec)


def debugger(**more: Any) -> Any:
    return pods.container("dbg", kind=Kind.EPHEMERAL, **more)


def planned(pod: views.Pod, seen: PodSeen) -> list[actions.Action]:
    return list(pod_plan.plan(pod, seen, 1000.0).actions)


def test_one_starts_before_the_init_containers_are_done() -> None:
    pod = with_debugger(initContainers=[{"name": "one", "image": "i"}])
    one = pods.container("one", kind=Kind.INIT)

    assert planned(pod, pods.seen(one)) == [actions.EnsureImage("dbg", 0)]
    assert planned(pod, pods.seen(one, images={"dbg": 0})) == [actions.CreateContainer("dbg", 0, 0)]
    made = debugger(state=State.CREATED, started_at=None)
    assert planned(pod, pods.seen(one, made)) == [actions.StartContainer(made.id, "dbg")]


def test_one_waits_for_the_sandbox() -> None:
    found = planned(with_debugger(), PodSeen(volumes=""))

    assert actions.EnsureImage("main", 0) in found
    assert actions.EnsureImage("dbg", 0) not in found


@pytest.mark.parametrize("code", [0, 1])
def test_one_that_has_ended_stays_ended(code: int) -> None:
    device = pods.Device(
        with_debugger(), pods.seen(pods.container(), debugger(exit=pods.ended(code)))
    )
    device.settle()

    assert [type(done) for done in device.done] == [actions.Settle]
    assert device.running() == ["main"]


def test_one_whose_record_is_gone_is_not_run_again() -> None:
    entry = {"name": "dbg", "containerID": "containerd://u-dbg-0", "restartCount": 0,
             "state": {"terminated": {"exitCode": 0}}}  # fmt: skip
    pod = with_debugger(status={"ephemeralContainerStatuses": [entry]})

    assert planned(pod, pods.seen(pods.container())) == []
    status = pod_status.derive(
        pod, pods.seen(pods.container()), {"ephemeralContainerStatuses": [entry]}, AROUND
    )
    assert status["ephemeralContainerStatuses"] == [entry]


@pytest.mark.parametrize(
    ("there", "state"),
    [
        pytest.param([], {"waiting": {"reason": "ContainerCreating"}}, id="coming"),
        pytest.param(
            [debugger(started="2026-01-01T00:00:00Z")],
            {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            id="running",
        ),
    ],
)
def test_its_status_counts_for_nothing(there: list[Any], state: dict[str, Any]) -> None:
    status = pod_status.derive(with_debugger(), pods.seen(pods.container(), *there), {}, AROUND)
    entry = status["ephemeralContainerStatuses"][0]

    assert (entry["state"], entry["ready"], entry["restartCount"]) == (state, False, 0)
    assert "started" not in entry
    assert status["phase"] == "Running"
    assert {c["status"] for c in status["conditions"]} == {"True"}


def test_one_that_runs_does_not_hold_up_the_end_of_the_pod() -> None:
    pod = with_debugger(restartPolicy="Never")
    start = pods.seen(pods.container(exit=pods.ended(0)), debugger())
    assert pod_phase.phase(pod, start, 1000.0) == "Running"
    device = pods.Device(pod, start)
    device.settle()

    assert device.running() == []
    assert pod_phase.phase(pod, device.seen, device.now) == "Succeeded"


def test_one_shares_the_processes_of_its_target() -> None:
    around = oci_spec.Surroundings("u", "p", "/cg", network="/n", pid="/proc/7/ns/pid")
    machine = oci_spec.Machine(cgroup_v2=True, capabilities=())
    spec = oci_spec.build(
        views.Container(name="dbg", command=["sh"]),
        oci_spec.Image(), {}, oci_spec.User(), around, machine,
    )  # fmt: skip

    assert {"type": "pid", "path": "/proc/7/ns/pid"} in spec["linux"]["namespaces"]
