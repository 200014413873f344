"""From whatever is there, a StatefulSet comes to what is wanted, and stays within its bounds."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import strategies as st

from edgeorch.core import history, pod_facts, stateful
from tests.unit.core.owned_pods import NOW, member, rolling, stateful_set

_STATES = st.sampled_from(["ready", "unready", "pending", "failed", "leaving"])


def made(ordinal: int, revision: str, state: str) -> pod_facts.PodFacts:
    states: dict[str, dict[str, Any]] = {
        "ready": {},
        "unready": {"ready": False},
        "pending": {"phase": "Pending", "ready": False},
        "failed": {"phase": "Failed", "ready": False},
        "leaving": {"leaving": True},
    }
    return member(ordinal, revision, **states[state])


def settled(pod: pod_facts.PodFacts, ordinal: int) -> pod_facts.PodFacts | None:
    """What time makes of a pod: it goes when it must, is ready else. The new revision works."""
    revision = pod.metadata.labels[history.LABEL]
    if pod.terminating:
        return None
    return pod if pod.terminal else made(ordinal, revision, "ready")


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(
    st.integers(0, 5),
    st.dictionaries(
        st.integers(0, 7), st.tuples(st.sampled_from(["old", "new"]), _STATES), max_size=8
    ),
    st.sampled_from(["OrderedReady", "Parallel"]),
    st.sampled_from([None, 1, 2, 3, "50%"]),
    st.integers(0, 3),
)
def test_it_converges_within_its_bounds(
    size: int,
    there: dict[int, tuple[str, str]],
    policy: str,
    most: int | str | None,
    partition: int,
) -> None:
    fields = {} if most is None else {"maxUnavailable": most}
    strategy = rolling(partition=partition, **fields)
    wanted = stateful_set(size, podManagementPolicy=policy, updateStrategy=strategy)
    pods = {n: made(n, revision, state) for n, (revision, state) in there.items()}
    revisions = stateful.Revisions("old", "new")
    for _ in range(80):
        actions = stateful.plan(wanted, list(pods.values()), revisions, now=NOW)
        again = stateful.plan(wanted, list(pods.values()), revisions, now=NOW)
        assert actions == again
        check(wanted, pods, actions)
        for action in actions:
            carry_out(pods, action)
        aged = {n: settled(pod, n) for n, pod in pods.items()}
        after = {n: pod for n, pod in aged.items() if pod is not None}
        if not actions and after == pods:
            break
        pods = after
    else:
        raise AssertionError(f"never came to rest: {pods}")
    assert sorted(pods) == list(range(size))
    for n, pod in pods.items():
        if n >= partition:
            assert pod.metadata.labels[history.LABEL] == "new"


def carry_out(pods: dict[int, pod_facts.PodFacts], action: stateful.Action) -> None:
    match action:
        case stateful.CreatePod(ordinal, revision):
            assert ordinal not in pods
            pods[ordinal] = made(ordinal, revision, "pending")
        case stateful.DeletePod(pod):
            place = stateful.ordinal_of("web", pod.metadata.name)
            assert place is not None
            assert not pod.terminating
            pods[place] = made(place, pod.metadata.labels[history.LABEL], "leaving")
        case stateful.LabelPod():
            raise AssertionError("all have their labels")


def check(wanted: Any, pods: dict[int, pod_facts.PodFacts], actions: list[stateful.Action]) -> None:
    """Of the wanted ordinals, no available pod goes when too few would be left."""
    size, most = wanted.spec.replicas, stateful.max_unavailable(wanted)
    ready = [n for n, p in pods.items() if n < size and p.ready and p.active]
    gone = [
        action.pod
        for action in actions
        if isinstance(action, stateful.DeletePod) and action.pod.ready and action.pod.active
    ]
    lost = [p for p in gone if (stateful.ordinal_of("web", p.metadata.name) or 0) < size]
    assert len(lost) <= most
    if most > 1 and lost:
        assert len(ready) - len(lost) >= size - most
    if wanted.spec.pod_management_policy == "OrderedReady":
        assert sum(isinstance(action, stateful.CreatePod) for action in actions) <= 1
