"""Pods, and a runtime that exists only in memory, for the tests of the lifecycle."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from edgeorch.core import actions, pod_plan
from edgeorch.core.observed import (
    Container,
    Exit,
    Hook,
    Kind,
    PodSeen,
    ProbeKind,
    Sandbox,
    State,
    Stop,
)
from edgeorch.lib import json
from edgeorch.model import views

TOKEN = "box"


def pod(**spec: Any) -> views.Pod:
    """With one container `main` unless `containers` says otherwise; `meta` and `status` too."""
    meta = {"name": "p", "namespace": "default", "uid": "u", **spec.pop("meta", {})}
    status = spec.pop("status", {})
    spec.setdefault("containers", [{"name": "main", "image": "i"}])
    return views.decode(json.encode({"metadata": meta, "spec": spec, "status": status}), views.Pod)


def ended(code: int = 1, at: float | None = 100.0, **more: Any) -> Exit:
    return Exit(code=code, reason="Completed" if code == 0 else "Error", at=at, **more)


def container(name: str = "main", **more: Any) -> Container:
    """Running in the current sandbox since 50, unless told otherwise."""
    image = more.pop("spec_image", "i")
    attempt = more.pop("attempt", 0)
    values: dict[str, Any] = {
        "id": f"u-{name}-{attempt}",
        "name": name,
        "kind": Kind.MAIN,
        "attempt": attempt,
        "state": State.RUNNING,
        "spec_hash": pod_plan.spec_hash(views.Container(name=name, image=image)),
        "sandbox": TOKEN,
        "started_at": 50.0,
    }
    values.update(more)
    if values.get("exit") is not None:
        values["state"] = State.ENDED
    return Container(**values)


def seen(*containers: Container, **more: Any) -> PodSeen:
    """A pod whose sandbox and volumes stand."""
    values: dict[str, Any] = {"sandbox": Sandbox(TOKEN, "10.42.0.2"), "volumes": ""}
    values.update(more)
    return PodSeen(containers=tuple(containers), **values)


class Device:
    """Carries out plans at once and without failure; processes obey `on_stop` and `codes`."""

    def __init__(self, spec: views.Pod, start: PodSeen, *, ignores_term: bool = False) -> None:
        self.pod = spec
        self.seen = start
        self.now = 1000.0
        self.ignores_term = ignores_term
        self.finished = False
        self.done: list[actions.Action] = []

    def step(self) -> bool:
        """One decision carried out; False when nothing was to be done."""
        plan = pod_plan.plan(self.pod, self.seen, self.now)
        todo = [a for a in plan.actions if not isinstance(a, actions.Probe)]
        for action in todo:
            self.done.append(action)
            self.perform(action)
        if not todo and plan.wake_at is not None:
            assert plan.wake_at > self.now, "a wake-up in the past"
            self.now = plan.wake_at
            return True
        return bool(todo)

    def settle(self, rounds: int = 60) -> int:
        for count in range(rounds):
            if self.finished or not self.step():
                return count
        raise AssertionError(f"no rest after {rounds} rounds: {self.done[-8:]}")

    def perform(self, action: actions.Action) -> None:  # noqa: C901
        match action:
            case actions.EnsureSandbox():
                self._set(sandbox=Sandbox(TOKEN + "2", "10.42.0.3"), torn_down=False)
            case actions.RestartAll():
                assert self.seen.sandbox is not None
                self._set(sandbox=Sandbox(action.token, self.seen.sandbox.ip))
            case actions.MountVolumes():
                self._set(volumes=action.version, torn_down=False)
            case actions.EnsureImage():
                self._set(images={**self.seen.images, action.name: action.attempt})
            case actions.CreateContainer():
                self._create(action)
            case actions.StartContainer():
                self._change(action.id, state=State.RUNNING, started_at=self.now)
            case actions.RunPostStart():
                self._set(hooks={**self.seen.hooks, action.id: Hook.DONE})
            case actions.Withdraw():
                self._set(withdrawn=True)
            case actions.BeginStop():
                self._stop(action.id, Stop(self.now))
            case actions.RunPreStop():
                self._stop(action.id, self._stopping(action.id, hook_done=True))
            case actions.Signal():
                self._signal(action)
            case actions.Settle():
                self._change(action.id, settled=True)
            case actions.RemoveContainer():
                kept = tuple(c for c in self.seen.containers if c.id != action.id)
                assert len(kept) < len(self.seen.containers)
                self._set(containers=kept)
            case actions.TearDown():
                assert not any(c.state is State.RUNNING for c in self.seen.containers)
                self._set(sandbox=None, volumes=None, torn_down=True)
            case actions.FinishDeletion():
                assert not self.seen.containers
                self.finished = True
            case _:
                raise AssertionError(action)

    def exit(self, container_id: str, code: int) -> None:
        self._change(container_id, state=State.ENDED, exit=ended(code, self.now), settled=False)

    def running(self) -> list[str]:
        return sorted(c.name for c in self.seen.containers if c.state is State.RUNNING)

    def _create(self, action: actions.CreateContainer) -> None:
        kinds = {spec.name: (spec, kind) for spec, kind in pod_plan.containers_of(self.pod)}
        spec, kind = kinds[action.name]
        before = {c.id: c for c in self.seen.containers}.get(action.after)
        made = container(
            action.name,
            kind=kind,
            attempt=action.attempt,
            state=State.CREATED,
            spec_hash=pod_plan.spec_hash(spec),
            sandbox=self.seen.sandbox.token if self.seen.sandbox else TOKEN + "2",
            crashes=action.crashes,
            started_at=None,
            last=before.exit if before else None,
        )
        assert made.id not in {c.id for c in self.seen.containers}, "an attempt made twice"
        self._set(containers=(*self.seen.containers, made))

    def _signal(self, action: actions.Signal) -> None:
        if action.signal == "kill":
            self._stop(action.id, self._stopping(action.id, kill_at=self.now))
            self.exit(action.id, 137)
            return
        self._stop(action.id, self._stopping(action.id, term_at=self.now, hook_done=True))
        if not self.ignores_term:
            self.exit(action.id, 143)

    def _stopping(self, container_id: str, **changes: Any) -> Stop:
        return structs.replace(self.seen.stops[container_id], **changes)

    def _stop(self, container_id: str, stop: Stop) -> None:
        self._set(stops={**self.seen.stops, container_id: stop})

    def _change(self, container_id: str, **changes: Any) -> None:
        self._set(
            containers=tuple(
                structs.replace(c, **changes) if c.id == container_id else c
                for c in self.seen.containers
            )
        )

    def _set(self, **changes: Any) -> None:
        self.seen = structs.replace(self.seen, **changes)
        ending = self.seen.gone or self.pod.metadata.deletion_timestamp
        if ending and self.seen.ending_since is None:
            self.seen = structs.replace(self.seen, ending_since=self.now)

    def judge(self, name: str, kind: ProbeKind, well: bool) -> None:
        latest = self.seen.latest(name)
        assert latest is not None
        self._set(probes={**self.seen.probes, (latest.id, kind): well})
