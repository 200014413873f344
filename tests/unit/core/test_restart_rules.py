"""A container's own restart policy and rules, and what takes the whole pod along."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import actions, pod_phase, pod_plan, pod_status, restarts
from edgeorch.core.observed import Container, Failure, Hook, Kind, PodSeen, Sandbox, State
from edgeorch.model import views
from tests.unit.core import pods

AROUND = pod_status.Surroundings(now="2026-01-01T00:00:00Z", monotonic=1000.0, host_ip="192.0.2.1")


def rule(action: str, operator: str, *values: int) -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": operator, "values": list(values)}}


def asked(
    code: int, *rules: Any, pod: str = "Never", own: str = "", kind: Kind = Kind.MAIN
) -> restarts.Answer:
    spec: dict[str, Any] = {"name": "main", "image": "i", "restartPolicyRules": list(rules)}
    if own:
        spec["restartPolicy"] = own
    found = pods.pod(restartPolicy=pod, containers=[spec])
    return restarts.answer(found, found.spec.containers[0], kind, pods.ended(code))


STAY, AGAIN, ALL = restarts.Answer.STAY, restarts.Answer.AGAIN, restarts.Answer.ALL


@pytest.mark.parametrize(
    ("code", "rules", "pod", "own", "answer"),
    [
        pytest.param(1, (), "Never", "", STAY, id="the pod's policy"),
        pytest.param(1, (), "Always", "Never", STAY, id="its own comes first"),
        pytest.param(0, (), "Never", "Always", AGAIN, id="always"),
        pytest.param(0, (), "Always", "OnFailure", STAY, id="on failure, success"),
        pytest.param(2, (), "Never", "OnFailure", AGAIN, id="on failure, failure"),
        pytest.param(42, (rule("Restart", "In", 42),), "Never", "Never", AGAIN, id="in"),
        pytest.param(41, (rule("Restart", "In", 42),), "Never", "Never", STAY, id="not in"),
        pytest.param(41, (rule("Restart", "NotIn", 42),), "Never", "Never", AGAIN, id="notin"),
        pytest.param(0, (rule("Restart", "NotIn"),), "Never", "Never", AGAIN, id="notin nothing"),
        pytest.param(9, (rule("RestartAllContainers", "In", 9),), "Never", "Never", ALL, id="all"),
        pytest.param(
            9, (rule("Restart", "In", 9), rule("RestartAllContainers", "In", 9)), "Never", "Never",
            AGAIN, id="the first that matches",
        ),
    ],
)  # fmt: skip
def test_what_follows_from_an_end(
    code: int, rules: tuple[Any, ...], pod: str, own: str, answer: restarts.Answer
) -> None:
    assert asked(code, *rules, pod=pod, own=own) is answer


@pytest.mark.parametrize(
    ("kind", "code", "pod", "own", "answer"),
    [
        (Kind.INIT, 0, "Always", "", STAY),
        (Kind.INIT, 1, "Never", "OnFailure", AGAIN),
        (Kind.INIT, 1, "Always", "Never", STAY),
        (Kind.SIDECAR, 0, "Never", "Always", AGAIN),
        (Kind.EPHEMERAL, 1, "Always", "", STAY),
    ],
)
def test_kinds_differ(kind: Kind, code: int, pod: str, own: str, answer: restarts.Answer) -> None:
    assert asked(code, pod=pod, own=own, kind=kind) is answer


def test_a_container_that_restarts_keeps_the_pod_from_ending() -> None:
    containers = [
        {"name": "main", "image": "i", "restartPolicy": "OnFailure"},
        {"name": "other", "image": "i"},
    ]
    pod = pods.pod(restartPolicy="Never", containers=containers)
    other = pods.container("other", exit=pods.ended(0, 999.0))
    failed = pods.seen(pods.container(exit=pods.ended(1, 999.0)), other)
    assert pod_phase.phase(pod, failed, 1000.0) == "Running"
    done = pods.seen(pods.container(exit=pods.ended(0, 999.0)), other)

    assert pod_phase.phase(pod, done, 1000.0) == "Succeeded"


# --- all containers -----------------------------------------------------------------------------

EVERYBODY: dict[str, Any] = {
    "restartPolicy": "Never",
    "initContainers": [
        {"name": "one", "image": "i"},
        {"name": "side", "image": "i", "restartPolicy": "Always"},
    ],
    "containers": [
        {"name": "main", "image": "i", "restartPolicy": "Never",
         "restartPolicyRules": [rule("RestartAllContainers", "In", 88)]},
        {"name": "done", "image": "i"},
    ],
}  # fmt: skip


def former() -> PodSeen:
    return pods.seen(
        pods.container("one", kind=Kind.INIT, exit=pods.ended(0, 900.0), settled=True),
        pods.container("side", kind=Kind.SIDECAR),
        pods.container(exit=pods.ended(88, 999.0), started_at=950.0),
        pods.container("done", exit=pods.ended(0, 960.0), settled=True),
    )


def test_one_end_begins_a_new_round_for_all() -> None:
    """Killed without hooks or grace; init containers first again; policies are for later ends."""
    pod = pods.pod(**EVERYBODY)
    device = pods.Device(pod, former())
    assert device.step()
    assert device.done == [actions.RestartAll("box.1")]
    assert device.step()
    assert device.step()
    assert device.done[1:] == [
        actions.BeginStop("u-side-0", "side", "Stopping container side"),
        actions.Signal("u-side-0", "side", "kill"),
    ]
    order = []
    for _ in range(60):
        device.step()
        for done in device.done:
            if isinstance(done, actions.StartContainer) and done.name not in order:
                order.append(done.name)
        one = device.seen.latest("one")
        if one is not None and one.state is State.RUNNING:
            device.exit(one.id, 0)

    assert order == ["one", "side", "main", "done"]
    assert device.running() == ["done", "main", "side"]
    assert {c.attempt for c in device.seen.containers} == {1}
    assert device.seen.sandbox == Sandbox("box.1", "10.42.0.2")


def test_what_the_status_says_of_a_new_round() -> None:
    pod = pods.pod(**EVERYBODY)
    here = former()
    there = pods.seen(*here.containers, sandbox=Sandbox("box.1", "10.42.0.2"))
    status = pod_status.derive(pod, there, {}, AROUND)
    entries = {entry["name"]: entry for entry in status["containerStatuses"]}

    assert status["phase"] == "Running"
    restarting = next(c for c in status["conditions"] if c["type"] == "AllContainersRestarting")
    assert restarting["status"] == "True"
    assert entries["main"]["state"] == {"waiting": {"reason": "RestartingAllContainers"}}
    last = entries["done"]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "RestartingAllContainers")

    ended: list[Container] = [
        c if c.exit else pods.container("side", kind=Kind.SIDECAR, exit=pods.ended(137, 1000.0))
        for c in here.containers
    ]
    over = pods.seen(*ended, sandbox=there.sandbox)
    status = pod_status.derive(pod, over, status, AROUND)
    restarting = next(c for c in status["conditions"] if c["type"] == "AllContainersRestarting")
    assert restarting["status"] == "False"


def test_a_round_that_ends_badly_waits_like_any_crash() -> None:
    pod = pods.pod(
        containers=[{"name": "main", "image": "i", "restartPolicy": "Never",
                     "restartPolicyRules": [rule("RestartAllContainers", "NotIn", 0)]}],
    )  # fmt: skip
    failed = pods.container(
        exit=pods.ended(1, 1000.0), started_at=990.0, crashes=2, sandbox="box.2"
    )
    plan = pod_plan.plan(pod, pods.seen(failed, sandbox=Sandbox("box.3", "")), 1000.0)

    assert plan.actions == (actions.Settle("u-main-0"),)
    assert plan.wake_at == 1020.0


def test_a_reboot_is_no_new_round() -> None:
    pod = pods.pod(**EVERYBODY)
    lost = pods.seen(*former().containers, sandbox=None)

    assert pod_phase.verdict(pod, lost, 1000.0) == pod_phase.Verdict("Failed")


# --- sidecars -----------------------------------------------------------------------------------


def test_a_sidecar_that_comes_back_holds_nobody_up() -> None:
    """It has been up once, so the init container after it goes on and is looked after."""
    inits = [
        {"name": "side", "image": "i", "restartPolicy": "Always"},
        {"name": "two", "image": "i"},
    ]
    pod = pods.pod(initContainers=inits)
    crashed = pods.container(
        "side", kind=Kind.SIDECAR, exit=pods.ended(1, 999.0), started_at=990.0, crashes=1
    )
    two = pods.container("two", kind=Kind.INIT, exit=pods.ended(0, 999.0), settled=True)
    found = pod_plan.plan(pod, pods.seen(crashed, two), 1000.0)

    assert actions.EnsureImage("main", 0) in found.actions
    assert found.wake_at == 1009.0


def test_hooks_of_sidecars_run_at_once_and_their_signals_wait() -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["b"]}}}}
    inits = [{"name": "side", "image": "i", "restartPolicy": "Always", **hook}]
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    pod = pods.pod(initContainers=inits, meta=meta)
    start = pods.seen(
        pods.container("side", kind=Kind.SIDECAR), pods.container(), withdrawn=True,
        ending_since=1000.0,
    )  # fmt: skip
    device = pods.Device(pod, start, ignores_term=True)
    device.step()
    assert [type(done) for done in device.done] == [actions.BeginStop, actions.BeginStop]
    device.step()
    assert device.done[2:] == [
        actions.RunPreStop("u-side-0", "side"), actions.Signal("u-main-0", "main", "stop")
    ]  # fmt: skip
    device.step()
    assert device.now == 1030.0
    device.step()

    assert device.done[4:] == [
        actions.Signal("u-side-0", "side", "stop"), actions.Signal("u-main-0", "main", "kill")
    ]  # fmt: skip


# --- showing it ---------------------------------------------------------------------------------


def test_an_end_shows_as_itself_until_something_holds_the_restart_up() -> None:
    gone = pods.container(exit=pods.ended(3, 1000.0), started_at=990.0)
    state = _state(pods.seen(gone))
    assert state["terminated"]["exitCode"] == 3
    failure = Failure("RunContainerError", "why", 1001.0)
    state = _state(pods.seen(gone, failures={"start/main": failure}))
    assert state == {"waiting": {"reason": "RunContainerError", "message": "why"}}
    old = pods.container(exit=pods.ended(128, 1000.0), started_at=999.0, crashes=1)
    stale = Failure("RunContainerError", "why", 999.0)
    state = _state(pods.seen(old, failures={"start/main": stale}))

    assert state["waiting"]["reason"] == "CrashLoopBackOff"


def test_a_container_is_not_said_to_run_before_its_hook_is_through() -> None:
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["a"]}}}}
    pod = pods.pod(containers=[{"name": "main", "image": "i", **hook}])

    def shown(**more: Any) -> tuple[str, dict[str, Any]]:
        status = pod_status.derive(pod, pods.seen(pods.container(), **more), {}, AROUND)
        return status["phase"], status["containerStatuses"][0]["state"]

    assert shown() == ("Pending", {"waiting": {"reason": "ContainerCreating"}})
    failure = {"start/main": Failure("PostStartHookError", "why", 1005.0)}
    ill = shown(hooks={"u-main-0": Hook.FAILED}, failures=failure)
    assert ill[1] == {"waiting": {"reason": "PostStartHookError", "message": "why"}}
    phase, state = shown(hooks={"u-main-0": Hook.DONE})
    assert (phase, list(state)) == ("Running", ["running"])


def _state(here: PodSeen) -> dict[str, Any]:
    found: dict[str, Any] = pod_status.derive(pods.pod(), here, {}, AROUND)
    state: dict[str, Any] = found["containerStatuses"][0]["state"]
    return state


def test_generations_and_bounded_messages_show() -> None:
    pod = pods.pod(
        meta={"generation": 3},
        containers=[{"name": name, "image": "i"} for name in ("a", "b", "c", "d")],
    )
    long = pods.container(
        "a", exit=pods.ended(1, 1000.0, message="x" * 4000), started_at=999.0, crashes=1
    )
    status = pod_status.derive(pod, pods.seen(long), {}, AROUND)

    assert status["observedGeneration"] == 3
    assert {c["observedGeneration"] for c in status["conditions"]} == {3}
    assert len(status["containerStatuses"][0]["lastState"]["terminated"]["message"]) == 3072


def test_views_know_what_is_asked() -> None:
    pod = views.decode(
        b'{"metadata":{},"spec":{"containers":[{"name":"c","restartPolicyRules":'
        b'[{"action":"Restart","exitCodes":{"operator":"In","values":[1]}}]}]}}',
        views.Pod,
    )
    assert pod.spec.containers[0].restart_policy_rules[0].exit_codes == views.RestartExitCodes(
        operator="In", values=[1]
    )
