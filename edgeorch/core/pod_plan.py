"""The pod's life as one decision: what is to be done now, given what is wanted and what is seen.

`plan` is called after everything that happens to a pod and gives all that can be done at this
moment, side by side where order does not matter: namespaces, volumes and images are made ready at
once, a container is created when its image and the volumes are there, while its network may still
be coming, and started when that is there too. What already is under way simply stays in the plan.
Nothing is remembered here; what must be remembered is in `PodSeen`.

Order that is kept, as the kubelet keeps it: init containers one after another, a sidecar counts as
soon as it has started, main containers start in the order of the spec and each waits for the
postStart hook of the one before it; on the way down mains first, then sidecars in reverse.

Shape after computePodActions in kubelet's kuberuntime_manager.go; KEP-753 for sidecars.
"""

from __future__ import annotations

import enum
import hashlib

from msgspec import Struct

from edgeorch.core import actions, eviction, pod_phase, restarts
from edgeorch.core.actions import Action, Plan
from edgeorch.core.observed import Container, Exit, Hook, Kind, PodSeen, ProbeKind, State, Stop
from edgeorch.lib import backoff
from edgeorch.model import views

MIN_GRACE = 2.0
"""Seconds a process gets after SIGTERM when hooks or others have used up the grace period."""
KILL_AGAIN = 10.0
GONE_GRACE = 1
"""Grace period of a pod whose object was removed by force, seconds."""


class Policy(Struct, frozen=True):
    crash_loop: backoff.Policy = restarts.CRASH_LOOP


class _Step(enum.Enum):
    """Where a container stands on its way up."""

    COMING = enum.auto()
    WAITING = enum.auto()
    """Held up by a failure or back-off, so that others need not wait for it."""
    UP = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()


def plan(pod: views.Pod, seen: PodSeen, now: float, policy: Policy | None = None) -> Plan:
    planner = _Planner(pod, seen, now, policy or Policy())
    if seen.gone or pod.metadata.deletion_timestamp:
        planner.delete()
    elif pod.terminal or pod_phase.verdict(pod, seen, now) is not None:
        planner.finish()
    else:
        planner.run()
    return Plan(tuple(planner.actions), planner.wake_at)


def spec_hash(container: views.Container) -> str:
    """Changes when a running container has to be replaced: name and image, as in the kubelet."""
    return hashlib.sha256(f"{container.name}\n{container.image}".encode()).hexdigest()[:16]


def containers_of(pod: views.Pod) -> list[tuple[views.Container, Kind]]:
    """All containers in the order in which they start."""
    inits = [
        (container, Kind.SIDECAR if container.restart_policy == "Always" else Kind.INIT)
        for container in pod.spec.init_containers
    ]
    mains = [(container, Kind.MAIN) for container in pod.spec.containers]
    extra = [(container, Kind.EPHEMERAL) for container in pod.spec.ephemeral_containers]
    return [*inits, *mains, *extra]


def grace_period(pod: views.Pod, seen: PodSeen) -> float:
    """Seconds between the first notice and SIGKILL when the pod ends."""
    asked = pod.metadata.deletion_grace_period_seconds
    if seen.gone:
        return max(GONE_GRACE, asked or 0)
    if asked is not None:
        return asked
    if seen.eviction is not None:
        return seen.eviction.grace
    return pod.spec.termination_grace_period_seconds


class _Planner:
    def __init__(self, pod: views.Pod, seen: PodSeen, now: float, policy: Policy) -> None:
        self.pod = pod
        self.seen = seen
        self.now = now
        self.policy = policy
        self.actions: list[Action] = []
        self.wake_at: float | None = None

    # --- the three lives ------------------------------------------------------------------------

    def run(self) -> None:
        deadline = self.pod.spec.active_deadline_seconds
        if deadline is not None:
            self._wake(self.seen.accepted_at + deadline)
        if self._leave_old_sandbox() or self._restart_all():
            return
        if self.seen.sandbox is None:
            self._act(actions.EnsureSandbox())
        if self.seen.volumes is None or self.seen.volumes != self.seen.volumes_wanted:
            self._act(actions.MountVolumes(self.seen.volumes_wanted))
        self._look_in()
        if self._initialise():
            self._run_mains()
        self._sweep()

    def finish(self) -> None:
        """The pod has done its work or has failed: stop what still runs, keep the records."""
        if self._stop_all() and not self.seen.torn_down:
            self._act(actions.TearDown())
        for container in self.seen.containers:
            if container.state is State.CREATED:
                self._act(actions.RemoveContainer(container.id))
            elif container.state is State.ENDED and not container.settled:
                self._act(actions.Settle(container.id))
            elif container.state is State.ENDED and self._room_is_wanted():
                self._act(actions.RemoveContainer(container.id))

    def _room_is_wanted(self) -> bool:
        """Nothing is kept of an evicted pod but its status, once that says how all ended; and of no
        pod that is over while the node is short of room."""
        evicted = self.pod.status.reason == eviction.EVICTED
        return self.pod.terminal and (evicted or self.seen.room_wanted)

    def delete(self) -> None:
        if self._running() and not self.seen.withdrawn and not self.seen.gone:
            self._act(actions.Withdraw())
            self._ask_on()
            return
        if not self._stop_all():
            return
        if self.seen.containers:
            for container in self.seen.containers:
                self._act(actions.RemoveContainer(container.id))
        elif not self.seen.torn_down:
            self._act(actions.TearDown())
        else:
            self._act(actions.FinishDeletion())

    # --- up -------------------------------------------------------------------------------------

    def _leave_old_sandbox(self) -> bool:
        """Stop what runs in a sandbox that is no longer; whether something still does."""
        token = self.seen.sandbox.token if self.seen.sandbox else None
        left = False
        for container in self.seen.containers:
            if container.sandbox == token:
                continue
            if container.state is State.CREATED and self.seen.sandbox is not None:
                self._act(actions.RemoveContainer(container.id))
            elif container.state is State.RUNNING:
                left = True
                grace = self.pod.spec.termination_grace_period_seconds
                if self.seen.former(container):
                    grace = 0
                self._stop(container, grace, f"Stopping container {container.name}")
        return left

    def _restart_all(self) -> bool:
        """Whether the end of a container asks for a new round (KEP-5532)."""
        for spec, kind in containers_of(self.pod):
            latest = self.seen.latest(spec.name)
            if latest is None or latest.exit is None or not self._is_current(latest):
                continue
            asked = restarts.answer(self.pod, spec, kind, latest.exit)
            if asked is restarts.Answer.ALL and self.seen.sandbox is not None:
                self._act(actions.RestartAll(self.seen.sandbox.next_round))
                return True
        return False

    def _initialise(self) -> bool:
        """Bring the init containers as far as they go; whether the mains may run."""
        order = [spec.name for spec, _ in containers_of(self.pod)]
        reached = max((order.index(c.name) for c in self._current() if c.name in order), default=0)
        begun = any(c.kind is Kind.MAIN for c in self._current())
        for place, (container, kind) in enumerate(containers_of(self.pod)):
            if kind is Kind.MAIN:
                break
            if kind is Kind.INIT and begun:
                continue
            step = self._advance(container, kind, may_start=True)
            up = step is _Step.UP and self._started(container)
            if kind is Kind.SIDECAR and (up or place < reached):
                # One that has let others begin does not hold them up again.
                continue
            if step is not _Step.DONE:
                return False
        return True

    def _current(self) -> list[Container]:
        """What has begun in this round, but ephemeral containers."""
        begun = (c for c in self.seen.containers if c.state is not State.CREATED)
        return [c for c in begun if self._is_current(c) and c.kind is not Kind.EPHEMERAL]

    def _run_mains(self) -> None:
        may_start = True
        for container in self.pod.spec.containers:
            step = self._advance(container, Kind.MAIN, may_start=may_start)
            if step is _Step.COMING:
                may_start = False

    def _look_in(self) -> None:
        """Ephemeral containers wait for nothing but the sandbox, and run once."""
        for container in self.pod.spec.ephemeral_containers:
            latest = self.seen.latest(container.name)
            if latest is None:
                if self._attempt(container.name, None) == 0 and self.seen.sandbox is not None:
                    self._next_attempt(container, Kind.EPHEMERAL, None)
            elif latest.state is State.CREATED:
                self._start(container, latest, may_start=True)
            elif latest.state is State.ENDED:
                self._settle(latest)

    def _advance(self, spec: views.Container, kind: Kind, *, may_start: bool) -> _Step:
        latest = self.seen.latest(spec.name)
        if latest is None:
            return self._next_attempt(spec, kind, None)
        match latest.state:
            case State.RUNNING:
                return self._keep(spec, latest)
            case State.CREATED:
                return self._start(spec, latest, may_start=may_start)
            case State.ENDED:
                return self._after_end(spec, kind, latest)

    def _after_end(self, spec: views.Container, kind: Kind, latest: Container) -> _Step:
        ended = latest.exit
        answer = restarts.answer(self.pod, spec, kind, ended) if ended else restarts.Answer.AGAIN
        anew = kind is Kind.INIT and not self._is_current(latest)
        stays = answer is restarts.Answer.STAY and not anew and not self.seen.former(latest)
        if ended is not None and stays:
            self._settle(latest)
            return _Step.DONE if ended.code == 0 or kind is Kind.MAIN else _Step.FAILED
        due = restarts.due(latest, spec_hash(spec), self.policy.crash_loop)
        if self._failing(f"start/{spec.name}"):
            self._settle(latest)
            return _Step.WAITING
        if due > self.now and not (anew and answer is not restarts.Answer.ALL):
            self._settle(latest)
            self._wake(due)
            return _Step.WAITING
        return self._next_attempt(spec, kind, latest)

    def _next_attempt(self, spec: views.Container, kind: Kind, latest: Container | None) -> _Step:
        attempt = self._attempt(spec.name, latest)
        if self.seen.images.get(spec.name) != attempt:
            return self._try(actions.EnsureImage(spec.name, attempt))
        failing = actions.EnsureSandbox().topic in self.seen.failures
        if self.seen.sandbox is None and (failing or _needs_address(spec)):
            return _Step.COMING
        if self.seen.volumes is None:
            return _Step.COMING
        crashes = 0 if latest is None else restarts.crashes(latest, spec_hash(spec)) + 1
        after = latest.id if latest else ""
        return self._try(actions.CreateContainer(spec.name, attempt, crashes, after))

    def _attempt(self, name: str, latest: Container | None) -> int:
        """One more than any attempt known, also where only the status remembers it."""
        known = latest.attempt if latest else -1
        for entry in self.pod.status.all_container_statuses:
            if entry.get("name") == name and entry.get("containerID"):
                known = max(known, int(entry.get("restartCount", 0)))
        return known + 1

    def _start(self, spec: views.Container, latest: Container, *, may_start: bool) -> _Step:
        if latest.spec_hash != spec_hash(spec) or not self._belongs(latest):
            self._act(actions.RemoveContainer(latest.id))
            return _Step.COMING
        ready = self.seen.sandbox is not None and self.seen.volumes is not None
        if not may_start or not ready:
            return _Step.COMING
        return self._try(actions.StartContainer(latest.id, spec.name))

    def _keep(self, spec: views.Container, container: Container) -> _Step:
        why = self._why_stop(spec, container)
        if why is not None:
            self._stop(container, self._grace_of(spec, container), why)
            return _Step.COMING
        if self._hook_pending(spec, container):
            self._act(actions.RunPostStart(container.id, spec.name))
            return _Step.COMING
        self._probe(spec, container)
        return _Step.UP

    def _why_stop(self, spec: views.Container, container: Container) -> str | None:
        """The event's text; None to let it run."""
        if container.spec_hash != spec_hash(spec):
            return f"Container {spec.name} definition changed, will be restarted"
        if self.seen.hooks.get(container.id) is Hook.FAILED:
            return "FailedPostStartHook"
        for kind in (ProbeKind.STARTUP, ProbeKind.LIVENESS):
            if self.seen.verdict(container, kind) is False:
                return f"Container {spec.name} failed {kind.value} probe, will be restarted"
        if self._has_stale_devices(spec, container):
            return f"Devices of container {spec.name} were plugged in again, will be restarted"
        return "" if container.id in self.seen.stops else None

    def _has_stale_devices(self, spec: views.Container, container: Container) -> bool:
        """Whether it cannot open what it asked for, and is one that starts again however it ends:
        whoever does not knows best what that means for its work."""
        clean = Exit(0, "Completed")
        return (
            container.id in self.seen.moved
            and restarts.answer(self.pod, spec, container.kind, clean) is restarts.Answer.AGAIN
        )

    def _hook_pending(self, spec: views.Container, container: Container) -> bool:
        hook = spec.lifecycle.post_start if spec.lifecycle else None
        return hook is not None and container.id not in self.seen.hooks

    def _probe(self, spec: views.Container, container: Container) -> None:
        started = self._started(spec)
        for kind, _ in pod_phase.probes(spec):
            startup = kind is ProbeKind.STARTUP
            if (startup and not started) or (not startup and started):
                self._act(actions.Probe(container.id, spec.name, kind))

    def _started(self, spec: views.Container) -> bool:
        container = self.seen.latest(spec.name)
        return container is not None and pod_phase.started(spec, container, self.seen)

    def _sweep(self) -> None:
        """Remove attempts that a newer one has followed, once that one holds the shim."""
        for container in self.seen.containers:
            latest = self.seen.latest(container.name)
            if latest is None or latest.attempt == container.attempt:
                continue
            if container.state is not State.RUNNING and latest.state is not State.CREATED:
                self._act(actions.RemoveContainer(container.id))

    # --- down -----------------------------------------------------------------------------------

    def _stop_all(self) -> bool:
        """Stop mains, then sidecars from the last to the first; whether nothing runs any more.

        All are told at once and run their hooks side by side; only the signal waits its turn, and
        not beyond the grace period (KEP-753).
        """
        running = self._running()
        turn = [c for c in running if c.kind is not Kind.SIDECAR]
        if not turn and running:
            order = [spec.name for spec in self.pod.spec.init_containers]
            turn = [max(running, key=lambda c: order.index(c.name) if c.name in order else -1)]
        grace = grace_period(self.pod, self.seen)
        self._ask_on()
        for container in running:
            why = f"Stopping container {container.name}"
            since = self.seen.ending_since
            self._stop(container, grace, why, since=since, in_turn=container in turn)
        return not running

    def _ask_on(self) -> None:
        """Readiness is asked for to the end: a Service may have nobody else."""
        for spec, _ in containers_of(self.pod):
            latest = self.seen.latest(spec.name)
            if latest is not None and spec.readiness_probe is not None and self._started(spec):
                self._act(actions.Probe(latest.id, spec.name, ProbeKind.READINESS))

    def _stop(
        self,
        container: Container,
        grace: float,
        message: str,
        *,
        since: float | None = None,
        in_turn: bool = True,
    ) -> None:
        """One step further on the way hook, stop signal, SIGKILL.

        The grace period counts from `since`, by default from when this stop began.
        """
        stop = self.seen.stops.get(container.id)
        if stop is None:
            self._act(actions.BeginStop(container.id, container.name, message))
            return
        deadline = (stop.since if since is None else since) + grace
        hook_pending = self._has_pre_stop(container.name) and not stop.hook_done
        if hook_pending and stop.term_at is None and self.now < deadline:
            self._act(actions.RunPreStop(container.id, container.name))
            self._wake(deadline)
        elif stop.kill_at is not None and self.now < stop.kill_at + KILL_AGAIN:
            self._wake(stop.kill_at + KILL_AGAIN)
        elif not in_turn and stop.term_at is None and self.now < deadline:
            self._wake(deadline)
        elif stop.term_at is None and grace > 0:
            self._act(actions.Signal(container.id, container.name, "stop"))
        else:
            self._kill_when_due(container, stop, grace, deadline)

    def _kill_when_due(
        self, container: Container, stop: Stop, grace: float, deadline: float
    ) -> None:
        if stop.term_at is not None:
            deadline = max(deadline, stop.term_at + min(grace, MIN_GRACE))
        if self.now >= deadline or grace <= 0:
            self._act(actions.Signal(container.id, container.name, "kill"))
        else:
            self._wake(deadline)

    def _has_pre_stop(self, name: str) -> bool:
        for spec, _ in containers_of(self.pod):
            if spec.name == name:
                return spec.lifecycle is not None and spec.lifecycle.pre_stop is not None
        return False

    def _grace_of(self, spec: views.Container, container: Container) -> float:
        for kind, probe in pod_phase.probes(spec):
            own = probe.termination_grace_period_seconds
            if own is not None and self.seen.verdict(container, kind) is False:
                return own
        return self.pod.spec.termination_grace_period_seconds

    # --- small ----------------------------------------------------------------------------------

    def _running(self) -> list[Container]:
        return [c for c in self.seen.containers if c.state is State.RUNNING]

    def _is_current(self, container: Container) -> bool:
        return self.seen.sandbox is not None and container.sandbox == self.seen.sandbox.token

    def _belongs(self, container: Container) -> bool:
        return self.seen.sandbox is None or self._is_current(container)

    def _settle(self, container: Container) -> None:
        if not container.settled:
            self._act(actions.Settle(container.id))

    def _try(self, action: Action) -> _Step:
        return _Step.COMING if self._act(action) else _Step.WAITING

    def _act(self, action: Action) -> bool:
        """Plan `action` unless it has failed lately; whether it is planned."""
        if self._failing(action.topic):
            return False
        if action not in self.actions:
            self.actions.append(action)
        return True

    def _failing(self, topic: str) -> bool:
        """Whether that has failed so lately that it is not to be tried again yet."""
        failure = self.seen.failures.get(topic)
        if failure is None or failure.retry_at <= self.now:
            return False
        self._wake(failure.retry_at)
        return True

    def _wake(self, at: float) -> None:
        if at > self.now:
            self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def _needs_address(spec: views.Container) -> bool:
    """Whether the environment names the pod's address, which only the sandbox knows."""
    return any(
        ((env.value_from or {}).get("fieldRef") or {})
        .get("fieldPath", "")
        .startswith("status.podIP")
        for env in spec.env
    )
