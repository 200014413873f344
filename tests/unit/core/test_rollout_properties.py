"""From whatever is observed, rollouts converge within their bounds and never act twice."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from edgeorch.core import revisions, rollout
from edgeorch.model import views
from tests.unit.core import workloads
from tests.unit.core.workloads import World

moves = st.lists(
    st.tuples(st.sampled_from(["deployment", "pods", "ready", "remove"]), st.integers(0, 20)),
    max_size=40,
)
amounts = st.one_of(st.integers(0, 6), st.integers(0, 100).map(lambda n: f"{n}%"))
strategies = st.one_of(
    st.builds(workloads.rolling, amounts, amounts), st.just({"type": "Recreate"})
)


@st.composite
def observations(
    draw: st.DrawFn,
) -> tuple[views.Deployment, list[views.ReplicaSet]]:
    """A rolling Deployment of one size, in any mess that its ReplicaSets may be in."""
    size = draw(st.integers(0, 12))
    strategy = workloads.rolling(draw(amounts), draw(amounts))
    found = workloads.deployment(size, "web:9", strategy=strategy)
    noted = revisions.sizes(size, rollout.max_surge(found))
    sets = []
    for number in draw(st.sets(st.integers(5, 9), max_size=4)):
        replicas = draw(st.integers(0, 12))
        # More than the spec allows: a status that lags behind.
        available = draw(st.integers(0, 14))
        made = workloads.replica_set(f"web:{number}", replicas, available=available, age=number)
        sets.append(workloads.sized(made, replicas, noted))
    return found, sets


def applied(sets: list[views.ReplicaSet], actions: list[rollout.Action]) -> list[views.ReplicaSet]:
    world = World(workloads.deployment(image="web:9"))
    world.sets = {each.metadata.name: each for each in sets}
    for action in actions:
        world.carry_out(action)
    return list(world.sets.values())


def total(sets: list[views.ReplicaSet]) -> int:
    return sum(each.spec.replicas for each in sets)


def kept_available(sets: list[views.ReplicaSet]) -> int:
    return sum(rollout.available(each) for each in sets)


@given(observations())
def test_no_plan_leaves_the_bounds(
    observed: tuple[views.Deployment, list[views.ReplicaSet]],
) -> None:
    deployment, sets = observed
    most = deployment.spec.replicas + rollout.max_surge(deployment)
    least = deployment.spec.replicas - rollout.max_unavailable(deployment)
    after = applied(sets, rollout.plan(deployment, sets))
    assert total(after) <= max(total(sets), most)
    assert kept_available(after) >= min(kept_available(sets), least)


@given(observations())
def test_plans_without_news_come_to_an_end_within_the_bounds(
    observed: tuple[views.Deployment, list[views.ReplicaSet]],
) -> None:
    deployment, sets = observed
    least = min(
        kept_available(sets), deployment.spec.replicas - rollout.max_unavailable(deployment)
    )
    for _ in range(8):
        actions = rollout.plan(deployment, sets)
        if all(isinstance(action, rollout.SetRevision) for action in actions):
            return
        sets = applied(sets, actions)
        assert kept_available(sets) >= least
    raise AssertionError(f"still acting: {rollout.plan(deployment, sets)}")


@given(observations())
def test_a_plan_names_each_replica_set_once(
    observed: tuple[views.Deployment, list[views.ReplicaSet]],
) -> None:
    actions = rollout.plan(*observed)
    scaled = [each.name for each in actions if isinstance(each, rollout.ScaleReplicaSet)]
    assert len(scaled) == len(set(scaled))
    assert all(each.new >= 0 for each in actions if isinstance(each, rollout.ScaleReplicaSet))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 8), strategies, st.lists(moves, min_size=2, max_size=2))
def test_a_rollout_converges_whoever_acts_first(
    size: int, strategy: dict[str, Any], rounds: list[list[tuple[str, int]]]
) -> None:
    world = World(workloads.deployment(size, "web:1", strategy=strategy))
    world.settle()
    most = size + rollout.max_surge(world.deployment)
    least = size - rollout.max_unavailable(world.deployment)
    for image, steps in zip(("web:2", "web:1"), rounds, strict=True):
        _to_image(world, image)
        for step, which in steps:
            _step(world, step, which)
            if strategy["type"] == "Recreate":
                assert len({pod.controller_uid for pod in world.pods.values()}) <= 1
            else:
                assert world.active <= most
                assert world.available >= least
    world.settle()
    new, old = rollout.split(world.deployment, world.sets.values())
    assert new is not None
    assert (new.spec.replicas, world.active, world.available) == (size, size, size)
    assert not any(each.spec.replicas for each in old)
    assert rollout.is_complete(world.deployment)
    assert world.plan() == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 8), st.integers(0, 10), strategies, moves, moves)
@example(2, 1, workloads.rolling(0, 1), [("deployment", 0)] * 2, [])
def test_scaling_in_the_middle_of_a_rollout_converges(
    size: int,
    later: int,
    strategy: dict[str, Any],
    before: list[tuple[str, int]],
    after: list[tuple[str, int]],
) -> None:
    world = World(workloads.deployment(size, "web:1", strategy=strategy))
    world.settle()
    _to_image(world, "web:2")
    for step, which in before:
        _step(world, step, which)
    _to_size(world, later)
    for step, which in after:
        _step(world, step, which)
    world.settle()
    assert (world.active, world.available) == (later, later)
    assert rollout.is_complete(world.deployment)


@given(st.integers(0, 9), st.integers(0, 9))
def test_pods_are_planned_once(have: int, want: int) -> None:
    world = World(workloads.deployment(want))
    world.sets = {"web-web-1": workloads.replica_set("web:1", have)}
    world.move_pods("web-web-1")
    world.sets["web-web-1"] = workloads.sized(world.sets["web-web-1"], want)
    assert world.move_pods("web-web-1") == (have != want)
    assert not world.move_pods("web-web-1")
    assert world.active == want


def _step(world: World, step: str, which: int) -> None:
    if step == "deployment":
        world.move_deployment()
        return
    names = sorted(world.sets if step == "pods" else world.pods)
    if not names:
        return
    name = names[which % len(names)]
    if step == "pods":
        world.move_pods(name)
        world.report(name)
    elif step == "ready":
        world.make_ready(name)
        world.report(world.pods[name].controller_uid)
    else:
        world.remove(name)


def _to_image(world: World, image: str) -> None:
    spec = structs.replace(world.deployment.spec, template=workloads.template(image))
    world.deployment = structs.replace(world.deployment, spec=spec)


def _to_size(world: World, size: int) -> None:
    spec = structs.replace(world.deployment.spec, replicas=size)
    world.deployment = structs.replace(world.deployment, spec=spec)
