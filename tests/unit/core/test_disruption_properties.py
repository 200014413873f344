"""However pods come, go and fail, evictions never take more than a budget allows."""

from __future__ import annotations

import random
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from edgeorch.core import disruption
from edgeorch.model import workloads
from tests.unit.core.owned_pods import SELECTOR, pod

Object = dict[str, Any]
STAMP = "2026-01-01T00:00:00Z"
SIZE = 6


class World:
    """A workload of six pods, its controller slow, and a budget counted now and then."""

    def __init__(self, spec: Object, seed: int) -> None:
        meta = {"name": "web", "namespace": "default", "generation": 1}
        self.budget: Object = {"metadata": meta, "spec": {"selector": SELECTOR, **spec}}
        self.pods = {f"p{n}": "ready" for n in range(SIZE)}
        self.dice = random.Random(seed)
        self.made = SIZE

    def view(self) -> workloads.Budget:
        return msgspec.convert(self.budget, workloads.Budget)

    def seen(self) -> list[Any]:
        ref = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs"}
        return [
            pod(
                name,
                ready=state != "unready",
                leaving=state == "leaving",
                ownerReferences=[{**ref, "controller": True}],
            )
            for name, state in self.pods.items()
        ]

    def healthy(self) -> int:
        return sum(state == "ready" for state in self.pods.values())

    def desired(self) -> int:
        return disruption.expected(self.view(), self.seen(), lambda _: SIZE).healthy

    def count(self) -> None:
        pods = self.seen()
        noted = disruption.notes(self.view(), pods, lambda _: 1.0)
        found = disruption.expected(self.view(), pods, lambda _: SIZE)
        status = disruption.status(self.view(), pods, found, noted.kept, STAMP)
        self.budget["status"] = status
        again = disruption.status(self.view(), pods, found, noted.kept, STAMP)
        assert again == status

    def evict(self) -> None:
        if not self.pods:
            return
        name = self.dice.choice(sorted(self.pods))
        (subject,) = [each for each in self.seen() if each.metadata.name == name]
        verdict = disruption.judge(subject, [self.view()])
        if not isinstance(verdict, disruption.Evict):
            return
        if verdict.spends:
            assert self.healthy() - len(self.noted()) > self.desired()
            self.budget = disruption.spent(self.budget, name, STAMP)
        elif self.pods[name] == "unready":
            always = self.budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
            status = self.view().status
            assert always or status.current_healthy >= status.desired_healthy
        if self.dice.random() < 0.7:
            self.pods[name] = "leaving"

    def noted(self) -> set[str]:
        """Promised, and still there unharmed."""
        return {
            name for name in self.view().status.disrupted_pods if self.pods.get(name) == "ready"
        }

    def live(self) -> None:
        """Pods go and come; none fails by itself, which no budget could prevent."""
        for name, state in list(self.pods.items()):
            if state == "leaving" and self.dice.random() < 0.5:
                del self.pods[name]
            elif state == "unready" and self.dice.random() < 0.5:
                self.pods[name] = "ready"
        if len(self.pods) < SIZE and self.dice.random() < 0.5:
            self.pods[f"p{self.made}"] = "unready"
            self.made += 1


_BUDGETS = st.one_of(
    st.integers(0, 7).map(lambda n: {"minAvailable": n}),
    st.integers(0, 100).map(lambda n: {"minAvailable": f"{n}%"}),
    st.integers(0, 7).map(lambda n: {"maxUnavailable": n}),
    st.integers(0, 100).map(lambda n: {"maxUnavailable": f"{n}%"}),
)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    _BUDGETS, st.sampled_from(["IfHealthyBudget", "AlwaysAllow"]), st.integers(0, 999)
)
def test_the_budget_is_kept(spec: Object, policy: str, seed: int) -> None:
    world = World({**spec, "unhealthyPodEvictionPolicy": policy}, seed)
    for _ in range(40):
        if world.dice.random() < 0.5:
            world.count()
        before = world.healthy()
        world.evict()
        # Whoever was evicted while serving, what the budget wants is still there.
        assert world.healthy() == before or world.healthy() >= min(before, world.desired())
        world.live()
