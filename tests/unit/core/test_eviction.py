"""A pod that the node evicts ends at once, says why, and keeps saying so after a restart."""

from __future__ import annotations

from typing import Any

from edgeorch.core import actions, eviction, pod_phase, pod_plan, pod_status
from edgeorch.core.eviction import Eviction
from edgeorch.core.observed import State, Stop
from edgeorch.lib import json
from edgeorch.model import views
from tests.unit.core import pods

TOLD = 'Usage of EmptyDir volume "scratch" exceeds the limit "10Mi". '
FULL = Eviction(TOLD)
AROUND = pod_status.Surroundings("2026-01-01T00:00:00Z", 1000.0, "192.0.2.1")


def derived(pod: views.Pod, seen: Any, old: Any = None) -> dict[str, Any]:
    return pod_status.derive(pod, seen, old or {}, AROUND)


def conditions(status: dict[str, Any]) -> dict[str, Any]:
    return {each["type"]: each for each in status["conditions"]}


def test_its_containers_get_the_evictions_grace_and_not_their_own() -> None:
    main = pods.container()
    seen = pods.seen(main, eviction=FULL, ending_since=1000.0, stops={main.id: Stop(1000.0)})

    plan = pod_plan.plan(pods.pod(), seen, 1000.0)
    assert plan.actions == (actions.Signal(main.id, "main", "stop"),)
    stopping = pods.seen(
        main, eviction=FULL, ending_since=1000.0, stops={main.id: Stop(1000.0, term_at=1000.0)}
    )
    assert pod_plan.plan(pods.pod(), stopping, 1000.5).wake_at == 1001.0
    late = pod_plan.plan(pods.pod(), stopping, 1001.0)
    assert late.actions == (actions.Signal(main.id, "main", "kill"),)


def test_what_the_user_asked_for_with_the_deletion_wins() -> None:
    pod = pods.pod(meta={"deletionGracePeriodSeconds": 7})

    assert pod_plan.grace_period(pod, pods.seen(eviction=FULL)) == 7


def test_the_reason_shows_before_the_phase() -> None:
    running = derived(pods.pod(), pods.seen(pods.container(), eviction=FULL))

    assert (running["phase"], running["reason"]) == ("Running", "Evicted")
    over = pods.container(state=State.ENDED, exit=pods.ended(137), settled=True)
    ended = derived(pods.pod(), pods.seen(over, eviction=FULL), running)
    assert (ended["phase"], ended["reason"], ended["message"]) == ("Failed", "Evicted", TOLD)
    target = conditions(ended)["DisruptionTarget"]
    assert target["status"] == "True"
    assert (target["reason"], target["message"]) == ("TerminationByKubelet", TOLD)
    assert len(ended["conditions"]) == len(conditions(ended))


def test_a_restart_goes_on_where_it_was() -> None:
    status = derived(pods.pod(), pods.seen(pods.container(), eviction=FULL))
    again = views.decode(json.encode({"metadata": {}, "status": status}), views.Pod)

    assert eviction.standing(again) == FULL


def test_a_word_of_others_is_no_eviction() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    status = {"phase": "Running", "reason": "Evicted", "conditions": [condition]}

    assert eviction.standing(pods.pod(status=status)) is None
    assert eviction.standing(pods.pod(status={"phase": "Running"})) is None


def test_one_never_let_in_is_no_disruption() -> None:
    refused = Eviction("no", reason="OutOfcpu", disruption=False)
    status = derived(pods.pod(), pods.seen(eviction=refused, sandbox=None))

    assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
    assert "DisruptionTarget" not in conditions(status)


def test_nothing_is_kept_of_it_once_its_status_tells_all() -> None:
    over = pods.container(state=State.ENDED, exit=pods.ended(137), settled=True)
    seen = pods.seen(over, eviction=FULL, torn_down=True)

    assert pod_plan.plan(pods.pod(), seen, 1000.0).actions == ()
    gone = pods.pod(status={"phase": "Failed", "reason": "Evicted"})
    assert pod_plan.plan(gone, seen, 1000.0).actions == (actions.RemoveContainer(over.id),)
    failed = pods.pod(status={"phase": "Failed"})
    assert pod_plan.plan(failed, seen, 1000.0).actions == ()


def test_it_wins_over_what_its_containers_came_to() -> None:
    over = pods.container(state=State.ENDED, exit=pods.ended(0), settled=True)
    pod = pods.pod(restartPolicy="Never")

    assert pod_phase.verdict(pod, pods.seen(over, eviction=FULL), 1.0) == pod_phase.Verdict(
        "Failed", "Evicted", TOLD
    )
