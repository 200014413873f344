"""From any state a pod can be found in, the plan leads to rest, and to the right one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edgeorch.core import actions, pod_phase, pod_plan
from edgeorch.core.actions import Action
from edgeorch.core.observed import Failure, Hook, Kind, PodSeen, ProbeKind, State, Stop
from tests.unit.core import pods

HOOKS = {"lifecycle": {"postStart": {"exec": {"command": ["a"]}},
                       "preStop": {"exec": {"command": ["b"]}}}}  # fmt: skip
DELETED = {"meta": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}
MAIN = "u-main-0"


def planned(pod: Any, seen: PodSeen, now: float = 1000.0) -> list[Action]:
    return list(pod_plan.plan(pod, seen, now).actions)


def test_a_new_pod_gets_everything_ready_at_once() -> None:
    found = planned(pods.pod(), PodSeen(volumes_wanted="v1"))

    assert found == [
        actions.EnsureSandbox(), actions.MountVolumes("v1"), actions.EnsureImage("main", 0)
    ]  # fmt: skip


def test_a_container_is_created_while_its_network_is_coming() -> None:
    found = planned(pods.pod(), PodSeen(images={"main": 0}, volumes=""))

    assert found == [actions.EnsureSandbox(), actions.CreateContainer("main", 0, 0)]


def test_none_is_created_while_a_volume_is_missing() -> None:
    waits = PodSeen(images={"main": 0}, failures={"volumes": Failure("FailedMount", "why", 1001.0)})

    assert planned(pods.pod(), waits) == [actions.EnsureSandbox()]


def test_none_is_created_while_the_sandbox_fails() -> None:
    topic = actions.EnsureSandbox().topic
    waits = PodSeen(
        images={"main": 0}, volumes="", failures={topic: Failure("Failed", "why", 1001.0)}
    )

    assert planned(pods.pod(), waits) == []
    assert planned(pods.pod(), waits, now=1002.0) == [actions.EnsureSandbox()]


def test_one_that_names_its_address_waits_for_it() -> None:
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    pod = pods.pod(containers=[{"name": "main", "image": "i", "env": env}])
    found = planned(pod, PodSeen(images={"main": 0}, volumes=""))

    assert found == [actions.EnsureSandbox()]


def test_nothing_starts_before_sandbox_and_volumes_stand() -> None:
    made = pods.container(state=State.CREATED)

    assert actions.StartContainer(MAIN, "main") in planned(pods.pod(), pods.seen(made))
    assert planned(pods.pod(), pods.seen(made, volumes=None)) == [actions.MountVolumes("")]


def test_mains_start_in_order_and_wait_for_the_hook_before_them() -> None:
    pod = pods.pod(containers=[{"name": "a", "image": "i", **HOOKS}, {"name": "b", "image": "i"}])
    a = pods.container("a")
    b = pods.container("b", state=State.CREATED)

    assert planned(pod, pods.seen(a, b)) == [actions.RunPostStart(a.id, "a")]
    found = planned(pod, pods.seen(a, b, hooks={a.id: Hook.DONE}))
    assert found == [actions.StartContainer(b.id, "b")]


def test_one_that_cannot_start_does_not_hold_up_the_next() -> None:
    pod = pods.pod(containers=[{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])
    b = pods.container("b", state=State.CREATED)
    failing = {"image/a": Failure("ErrImagePull", "no", 1010.0)}
    plan = pod_plan.plan(pod, pods.seen(b, failures=failing), 1000.0)

    assert plan.actions == (actions.StartContainer(b.id, "b"),)
    assert plan.wake_at == 1010.0


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        pytest.param("Always", 0, True, id="always, success"),
        pytest.param("Always", 1, True, id="always, failure"),
        pytest.param("OnFailure", 0, False, id="on failure, success"),
        pytest.param("OnFailure", 1, True, id="on failure, failure"),
        pytest.param("Never", 0, False, id="never, success"),
        pytest.param("Never", 1, False, id="never, failure"),
    ],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    gone = pods.container(exit=pods.ended(code), settled=True)
    found = planned(pods.pod(restartPolicy=policy), pods.seen(gone))

    assert (actions.EnsureImage("main", 1) in found) is again


@pytest.mark.parametrize(
    ("crashes", "delay"),
    [(0, 0), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (60, 300)],
)
def test_back_off(crashes: int, delay: int) -> None:
    gone = pods.container(exit=pods.ended(at=1000.0), started_at=990.0, crashes=crashes)
    plan = pod_plan.plan(pods.pod(), pods.seen(gone), 1000.0)

    if delay:
        assert plan.actions == (actions.Settle(MAIN),)
        assert plan.wake_at == 1000.0 + delay
    else:
        assert plan.actions == (actions.EnsureImage("main", 1),)


def test_ten_minutes_of_running_are_forgiven() -> None:
    gone = pods.container(exit=pods.ended(at=1000.0), started_at=400.0, crashes=6)
    ready = pods.seen(gone, images={"main": 1})

    assert planned(pods.pod(), ready) == [actions.CreateContainer("main", 1, 1, MAIN)]


def test_the_old_attempt_stays_until_the_new_one_holds_the_shim() -> None:
    old = pods.container(exit=pods.ended())
    new = pods.container(attempt=1, state=State.CREATED)

    assert actions.RemoveContainer(MAIN) not in planned(pods.pod(), pods.seen(old, new))
    new = structs.replace(new, state=State.RUNNING)
    assert planned(pods.pod(), pods.seen(old, new)) == [actions.RemoveContainer(MAIN)]


def test_a_failed_liveness_probe_stops_the_container() -> None:
    pod = pods.pod(containers=[{"name": "main", "image": "i", "livenessProbe": {}}])
    verdicts = {(MAIN, ProbeKind.LIVENESS): False}
    found = planned(pod, pods.seen(pods.container(), probes=verdicts))

    told = "Container main failed liveness probe, will be restarted"
    assert found == [actions.BeginStop(MAIN, "main", told)]


def test_startup_holds_the_other_probes_back() -> None:
    probes: dict[str, Any] = {"startupProbe": {}, "livenessProbe": {}, "readinessProbe": {}}
    pod = pods.pod(containers=[{"name": "main", "image": "i", **probes}])
    startup = actions.Probe(MAIN, "main", ProbeKind.STARTUP)
    assert planned(pod, pods.seen(pods.container())) == [startup]
    verdicts = {(MAIN, ProbeKind.STARTUP): True}
    found = planned(pod, pods.seen(pods.container(), probes=verdicts))

    assert found == [
        actions.Probe(MAIN, "main", ProbeKind.LIVENESS),
        actions.Probe(MAIN, "main", ProbeKind.READINESS),
    ]


def test_deletion_withdraws_first_then_hooks_then_signals() -> None:
    pod = pods.pod(containers=[{"name": "main", "image": "i", **HOOKS}], **DELETED)
    here = pods.seen(pods.container(), ending_since=1000.0)
    assert planned(pod, here) == [actions.Withdraw()]
    here = structs.replace(here, withdrawn=True)
    assert planned(pod, here) == [actions.BeginStop(MAIN, "main", "Stopping container main")]
    here = structs.replace(here, stops={MAIN: Stop(1000.0)})
    assert planned(pod, here) == [actions.RunPreStop(MAIN, "main")]
    here = structs.replace(here, stops={MAIN: Stop(1000.0, hook_done=True)})
    assert planned(pod, here, 1010.0) == [actions.Signal(MAIN, "main", "stop")]
    here = structs.replace(here, stops={MAIN: Stop(1000.0, hook_done=True, term_at=1010.0)})
    plan = pod_plan.plan(pod, here, 1011.0)
    assert (plan.actions, plan.wake_at) == ((), 1030.0)
    assert planned(pod, here, 1030.0) == [actions.Signal(MAIN, "main", "kill")]


def test_a_hook_that_uses_up_the_grace_period_leaves_two_seconds() -> None:
    pod = pods.pod(containers=[{"name": "main", "image": "i", **HOOKS}], **DELETED)
    here = pods.seen(
        pods.container(), withdrawn=True, ending_since=1000.0, stops={MAIN: Stop(1000.0)}
    )
    assert planned(pod, here, 1030.0) == [actions.Signal(MAIN, "main", "stop")]
    stops = {MAIN: Stop(1000.0, hook_done=True, term_at=1030.0)}
    plan = pod_plan.plan(pod, structs.replace(here, stops=stops), 1030.5)

    assert (plan.actions, plan.wake_at) == ((), 1032.0)


def test_grace_zero_kills_at_once() -> None:
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    here = pods.seen(pods.container(), withdrawn=True, stops={MAIN: Stop(1000.0)})

    assert planned(pods.pod(meta=meta), here) == [actions.Signal(MAIN, "main", "kill")]


def test_a_shorter_grace_period_counts_from_the_beginning() -> None:
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    stops = {MAIN: Stop(1000.0, hook_done=True, term_at=1000.0)}
    here = pods.seen(pods.container(), withdrawn=True, ending_since=1000.0, stops=stops)

    assert planned(pods.pod(meta=meta), here, 1006.0) == [actions.Signal(MAIN, "main", "kill")]


INITS = {
    "initContainers": [
        {"name": "one", "image": "i"},
        {"name": "side", "image": "i", "restartPolicy": "Always"},
        {"name": "two", "image": "i"},
    ]
}


def test_init_containers_and_sidecars_come_in_order() -> None:
    device = pods.Device(pods.pod(**INITS), PodSeen(volumes=""))
    order = []
    for _ in range(40):
        device.step()
        for done in device.done:
            if isinstance(done, actions.StartContainer) and done.name not in order:
                order.append(done.name)
        for name in ("one", "two"):
            latest = device.seen.latest(name)
            if latest is not None and latest.state is State.RUNNING:
                device.exit(latest.id, 0)

    assert order == ["one", "side", "two", "main"]
    assert device.running() == ["main", "side"]


def test_sidecars_end_after_the_mains_in_reverse_order() -> None:
    inits = [{"name": name, "image": "i", "restartPolicy": "Always"} for name in ("s1", "s2")]
    pod = pods.pod(initContainers=inits, **DELETED)
    start = pods.seen(
        pods.container("s1", kind=Kind.SIDECAR),
        pods.container("s2", kind=Kind.SIDECAR),
        pods.container(),
    )
    device = pods.Device(pod, start)
    device.settle()
    stopped = [done.name for done in device.done if isinstance(done, actions.Signal)]

    assert stopped == ["main", "s2", "s1"]
    assert device.finished


def test_a_lost_sandbox_ends_what_runs_in_it_then_begins_anew() -> None:
    device = pods.Device(pods.pod(), pods.seen(pods.container(), sandbox=None))
    device.settle()

    assert device.running() == ["main"]
    assert [type(done).__name__ for done in device.done[:2]] == ["BeginStop", "Signal"]


def test_after_a_reboot_init_containers_run_again() -> None:
    pod = pods.pod(initContainers=[{"name": "one", "image": "i"}])
    start = pods.seen(
        pods.container(
            "one", kind=Kind.INIT, exit=pods.ended(0, None), sandbox="old", settled=True
        ),
        pods.container(exit=pods.ended(255, None), sandbox="old"),
        sandbox=None,
        volumes=None,
    )
    found = planned(pod, start)

    assert actions.EnsureImage("one", 1) in found
    assert actions.EnsureImage("main", 1) not in found


def test_after_a_reboot_a_pod_that_must_not_restart_has_failed() -> None:
    start = pods.seen(pods.container(exit=pods.ended(255, None), sandbox="old"), sandbox=None)
    pod = pods.pod(restartPolicy="Never")

    assert pod_phase.phase(pod, start, 1000.0) == "Failed"
    assert planned(pod, start) == [actions.TearDown(), actions.Settle(MAIN)]


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_a_finished_pod_whose_sandbox_is_gone_ended_as_its_containers_did(
    code: int, phase: str
) -> None:
    """Its status may not have reached the disk before the process ended."""
    done = pods.container(exit=pods.ended(code), settled=True)
    pod = pods.pod(restartPolicy="Never")

    assert pod_phase.phase(pod, pods.seen(done, sandbox=None), 1000.0) == phase


def test_a_changed_image_is_replaced_without_back_off() -> None:
    start = pods.seen(pods.container(spec_image="old", crashes=6))
    device = pods.Device(pods.pod(), start)
    device.now = 60.0
    device.settle()

    assert device.running() == ["main"]
    assert device.now == 60.0


def test_the_deadline_ends_the_pod() -> None:
    pod = pods.pod(activeDeadlineSeconds=10)
    start = pods.seen(pods.container(), accepted_at=990.0)
    assert pod_plan.plan(pod, start, 999.0).wake_at == 1000.0
    device = pods.Device(pod, start)
    device.settle()

    assert device.running() == []
    assert device.seen.torn_down
    assert pod_phase.verdict(pod, device.seen, device.now) == pod_phase.Verdict(
        "Failed",
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )


# --- from anywhere ------------------------------------------------------------------------------

exits = st.one_of(
    st.none(), st.builds(pods.ended, st.sampled_from([0, 1, 137]), st.sampled_from([None, 900.0]))
)


@st.composite
def attempts(draw: st.DrawFn, name: str, kind: Kind) -> list[Any]:
    found = []
    count = draw(st.integers(0, 2))
    for attempt in range(count):
        last = attempt == count - 1
        end = draw(exits) if last else pods.ended()
        state = State.ENDED if end else draw(st.sampled_from([State.CREATED, State.RUNNING]))
        found.append(
            pods.container(
                name,
                kind=kind,
                attempt=attempt,
                state=state,
                exit=end,
                crashes=draw(st.integers(0, 3)),
                sandbox=draw(st.sampled_from([pods.TOKEN, "old"])),
                spec_image=draw(st.sampled_from(["i", "i", "other"])),
                settled=draw(st.booleans()) if end else False,
            )
        )
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, PodSeen]:
    extra = draw(st.sampled_from([{}, INITS]))
    deleted = draw(st.sampled_from([{}, DELETED]))
    main = {"name": "main", "image": "i", **draw(st.sampled_from([{}, HOOKS]))}
    pod = pods.pod(
        containers=[main, {"name": "other", "image": "i"}],
        restartPolicy=draw(st.sampled_from(["Always", "OnFailure", "Never"])),
        **extra,
        **deleted,
    )
    containers = []
    for spec, kind in pod_plan.containers_of(pod):
        containers += draw(attempts(spec.name, kind))
    boxes = st.sampled_from([None, pods.seen().sandbox])
    here = pods.seen(
        *containers,
        sandbox=draw(boxes),
        volumes=draw(st.sampled_from([None, "", "stale"])),
        withdrawn=draw(st.booleans()),
        gone=draw(st.booleans()),
    )
    return pod, here


@given(situations(), st.booleans())
def test_every_situation_comes_to_rest(situation: tuple[Any, PodSeen], stubborn: bool) -> None:
    pod, start = situation
    device = pods.Device(pod, start, ignores_term=stubborn)
    # Init containers do their work as soon as they run.
    for _ in range(80):
        if device.finished:
            break
        for found in device.seen.containers:
            if found.kind is Kind.INIT and found.state is State.RUNNING:
                device.exit(found.id, 0)
        if not device.step():
            break
    else:
        raise AssertionError(f"no rest: {device.done[-10:]}")

    ending = device.seen.gone or pod.metadata.deletion_timestamp
    if ending:
        assert device.finished
        return
    said = pod_phase.verdict(pod, device.seen, device.now)
    if said is not None:
        assert device.running() == []
        assert device.seen.torn_down
    else:
        up = set(device.running())
        wanted = {spec.name for spec, kind in pod_plan.containers_of(pod) if kind is not Kind.INIT}
        done = {c.name for c in device.seen.containers if c.exit and c.exit.code == 0}
        if pod.spec.restart_policy == "Never":
            done |= {c.name for c in device.seen.containers if c.exit}
        assert up | done >= wanted


@given(situations())
def test_deciding_twice_decides_the_same(situation: tuple[Any, PodSeen]) -> None:
    pod, here = situation

    assert pod_plan.plan(pod, here, 1000.0) == pod_plan.plan(pod, here, 1000.0)


@pytest.mark.parametrize(
    ("policy", "restarted"), [("Always", True), ("OnFailure", False), ("Never", False)]
)
def test_a_device_that_was_plugged_in_again(policy: str, restarted: bool) -> None:
    """Only what starts again however it ends is ended for it, and nothing beside it."""
    names = ("main", "other")
    pod = pods.pod(
        restartPolicy=policy, containers=[{"name": name, "image": "i"} for name in names]
    )
    here = pods.seen(*map(pods.container, names), moved=frozenset({MAIN}))
    told = "Devices of container main were plugged in again, will be restarted"
    assert planned(pod, here) == ([actions.BeginStop(MAIN, "main", told)] if restarted else [])
