"""Whatever a pod is made of and in whatever state it is found, carrying the plan out until nothing
is left of it keeps the order of containers, and ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeorch.core import actions, pod_phase, pod_plan
from edgeorch.core.observed import Container, Kind, PodSeen, Sandbox, State
from edgeorch.model import views
from tests.unit.core import pods

ROUNDS = 400
HOOK = {"preStop": {"exec": {"command": ["b"]}}}
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
codes = st.sampled_from([0, 1, 42, 88])
rules = st.sampled_from(
    [
        [],
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
        [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}],
    ]
)


@st.composite
def specs(draw: st.DrawFn, name: str, own: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "image": "i"}
    policy = draw(st.sampled_from(own))
    if policy:
        found["restartPolicy"] = policy
        found["restartPolicyRules"] = draw(rules)
    if draw(st.booleans()):
        found["lifecycle"] = HOOK
    return found


@st.composite
def wishes(draw: st.DrawFn) -> views.Pod:
    main_policies = ("", "Always", "OnFailure", "Never")
    inits = draw(st.integers(0, 3))
    mains = draw(st.integers(1, 2))
    extra = [{"name": "dbg", "image": "i"}] if draw(st.booleans()) else []
    return pods.pod(
        initContainers=[
            draw(specs(f"i{n}", ("", "Always", "Always", "OnFailure", "Never")))
            for n in range(inits)
        ],
        containers=[draw(specs(f"m{n}", main_policies)) for n in range(mains)],
        ephemeralContainers=extra,
        restartPolicy=draw(st.sampled_from(["Always", "OnFailure", "Never"])),
        meta=draw(st.sampled_from([{}, {}, DELETED])),
    )


@st.composite
def found_attempts(draw: st.DrawFn, name: str, kind: Kind) -> list[Container]:
    """At most the last one has not ended: nobody ever ran two side by side."""
    found = []
    count = draw(st.integers(0, 1 if kind is Kind.EPHEMERAL else 2))
    for attempt in range(count):
        last = attempt == count - 1
        ended = not last or draw(st.booleans())
        found.append(
            pods.container(
                name,
                kind=kind,
                attempt=attempt,
                state=State.ENDED
                if ended
                else draw(st.sampled_from([State.CREATED, State.RUNNING])),
                exit=pods.ended(draw(codes), draw(st.sampled_from([None, 900.0])))
                if ended
                else None,
                settled=ended and draw(st.booleans()),
                crashes=draw(st.integers(0, 3)),
                sandbox=draw(st.sampled_from(["box.1", "box", "old"])),
            )
        )
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[views.Pod, PodSeen, dict[str, list[int]]]:
    pod = draw(wishes())
    everybody = pod_plan.containers_of(pod)
    there = [c for spec, kind in everybody for c in draw(found_attempts(spec.name, kind))]
    seen = pods.seen(
        *there,
        sandbox=draw(st.sampled_from([None, Sandbox("box.1", "10.42.0.2")])),
        volumes=draw(st.sampled_from([None, ""])),
        gone=draw(st.sampled_from([False, False, True])),
    )
    script = {spec.name: draw(st.lists(codes, max_size=3)) for spec, _ in everybody}
    return pod, seen, script


class Watched(pods.Device):
    """Processes end as their script says, then init containers succeed and others run on."""

    def __init__(
        self, pod: views.Pod, seen: PodSeen, script: dict[str, list[int]], *, ignores_term: bool
    ) -> None:
        super().__init__(pod, seen, ignores_term=ignores_term)
        self.script = script
        self.kinds = {spec.name: kind for spec, kind in pod_plan.containers_of(pod)}
        self.up = {(c.name, c.sandbox) for c in seen.containers if c.state is not State.CREATED}

    def perform(self, action: actions.Action) -> None:
        match action:
            case actions.CreateContainer():
                assert not self._runs(action.name), "made while the one before it runs"
            case actions.StartContainer():
                self._starts(action)
            case _:
                pass
        super().perform(action)

    def _runs(self, name: str) -> bool:
        return any(c.name == name and c.state is State.RUNNING for c in self.seen.containers)

    def _starts(self, action: actions.StartContainer) -> None:
        assert not self._runs(action.name), "two attempts at once"
        assert self.seen.sandbox is not None
        token = self.seen.sandbox.token
        if self.kinds[action.name] is not Kind.EPHEMERAL:
            for name in self._before(action.name, token):
                latest = self.seen.latest(name)
                assert latest is not None, f"{action.name} before {name}"
                if self.kinds[name] is Kind.SIDECAR:
                    assert (name, token) in self.up, f"{action.name} before {name} was up"
                    continue
                done = latest.exit is not None and latest.exit.code == 0
                assert done, f"{action.name} before {name} is done"
                assert latest.sandbox == token, f"{action.name} before {name} is done anew"
        self.up.add((action.name, token))

    def _before(self, name: str, token: str) -> list[str]:
        """Init containers that come first, but those that others have been let past already."""
        order = [n for n, kind in self.kinds.items() if kind is not Kind.EPHEMERAL]
        passed = max(
            (order.index(n) for n, box in self.up if box == token and n in order), default=0
        )
        place = order.index(name)
        return [n for n in order[passed:place] if self.kinds[n] is not Kind.MAIN]

    def live(self) -> None:
        """What processes do by themselves."""
        for container in self.seen.containers:
            if container.state is not State.RUNNING:
                continue
            planned = self.script[container.name]
            if planned:
                self.exit(container.id, planned.pop(0))
            elif container.kind is Kind.INIT:
                self.exit(container.id, 0)

    def to_rest(self) -> None:
        for _ in range(ROUNDS):
            if self.finished:
                return
            before = self.seen
            acted = self.step()
            self.live()
            if not acted and self.seen == before:
                return
        raise AssertionError(f"no rest: {self.done[-10:]}")


@settings(max_examples=120, deadline=None)
@given(situations(), st.booleans())
def test_order_is_kept_and_every_pod_comes_to_rest(
    situation: tuple[views.Pod, PodSeen, dict[str, list[int]]], stubborn: bool
) -> None:
    pod, start, script = situation
    device = Watched(pod, start, {k: list(v) for k, v in script.items()}, ignores_term=stubborn)
    device.to_rest()

    if device.seen.gone or pod.metadata.deletion_timestamp:
        assert device.finished
        return
    said = pod_phase.verdict(pod, device.seen, device.now)
    if said is not None:
        assert device.running() == []
        assert device.seen.torn_down
        return
    for spec, kind in pod_plan.containers_of(pod):
        latest = device.seen.latest(spec.name)
        if kind is Kind.INIT:
            continue
        assert latest is not None
        if kind in (Kind.MAIN, Kind.SIDECAR) and latest.exit is None:
            assert latest.state is State.RUNNING
        ids = [c.id for c in device.seen.containers if c.name == spec.name]
        assert ids == [f"u-{spec.name}-{latest.attempt}"]
