"""One worker for each pod: look, decide, act, tell; then sleep until something happens.

The worker holds a mailbox of one: the newest state of the pod replaces one not yet looked at, and
any number of reasons to look again are one wake-up. Whatever takes time runs as a job of the
worker; a decision is made at once whenever a job ends, a container changes or a moment comes. A
job whose action has left the plan is called off if it may be (`actions.CALLED_OFF`).

The worker ends when nothing of its pod is left. Shape after the kubelet's pod_workers.go.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from typing import TYPE_CHECKING

from edgeorch.agent import failures
from edgeorch.agent.executor import Executor, Workshop
from edgeorch.agent.memory import Memory
from edgeorch.core import actions, container_labels, eviction, pod_phase, pod_plan
from edgeorch.core.observed import State

if TYPE_CHECKING:
    from edgeorch.agent.status import StatusWriter
    from edgeorch.core.actions import Action
    from edgeorch.core.observed import PodSeen, ProbeKind
    from edgeorch.model import views

log = logging.getLogger(__name__)

_ALONE = (actions.TearDown, actions.FinishDeletion)
"""Begun only when nothing else is under way."""


class PodWorker:
    def __init__(
        self, shop: Workshop, status: StatusWriter, policy: pod_plan.Policy, pod: views.Pod
    ) -> None:
        self._shop = shop
        self._status = status
        self._policy = policy
        self._wake = asyncio.Event()
        self.told = asyncio.Event()
        """Set once the pod's status has been written for the first time."""
        self.cleared = asyncio.Event()
        """Set once nothing of the pod, which is over, takes room any more."""
        self._jobs: dict[Action, asyncio.Task[None]] = {}
        self._memory = self._remember(pod)
        self._start_counts = not pod.status.start_time
        """Nobody has seen the pod before, and it has yet to run."""
        self._executor = Executor(shop, pod, self._memory)
        self._timer: asyncio.TimerHandle | None = None
        self.references = shop.volumes.references(pod)
        containers = shop.observer.pod(pod.metadata.uid)
        self.adopted = any(container.state is State.RUNNING for container in containers)
        """Whether it ran before this process looked."""

    def _remember(self, pod: views.Pod) -> Memory:
        """What is there of the pod already."""
        shop, uid = self._shop, pod.metadata.uid
        accepted = shop.observer.accepted_at(uid)
        sandbox = shop.sandboxes.find(uid)
        memory = Memory(
            token=sandbox.token if sandbox else secrets.token_hex(8),
            accepted_at=accepted if accepted is not None else shop.clock.monotonic(),
            sandbox=sandbox,
            eviction=eviction.standing(pod),
        )
        memory.adopt(pod, shop.observer.pod(uid))
        return memory

    @property
    def pod(self) -> views.Pod:
        return self._executor.pod

    @property
    def probed(self) -> dict[tuple[str, ProbeKind, str], int]:
        """How many probes, by container, kind and result."""
        return self._memory.probed

    @property
    def is_new(self) -> bool:
        """Nothing of it has been begun, by this process or by a former one."""
        pod = self.pod
        begun = pod.terminal or pod.metadata.deletion_timestamp or pod.status.start_time
        return not begun and not self._shop.observer.pod(pod.metadata.uid)

    @property
    def refused(self) -> bool:
        """It was never let in, and so holds nothing."""
        said = self._memory.eviction
        return said is not None and not said.disruption

    # --- the mailbox ----------------------------------------------------------------------------

    def offer(self, pod: views.Pod) -> None:
        """The pod as it is now."""
        self._executor.pod = pod
        self.references = self._shop.volumes.references(pod)
        self._wake.set()

    def lost(self) -> None:
        """The object has been removed from the store: clean up after it."""
        self._memory.gone = True
        self._wake.set()

    def reject(self, reason: str, message: str) -> None:
        """The node does not take the pod: it fails before anything of it was begun."""
        told = f"Pod was rejected: {message}"
        self._memory.eviction = eviction.Eviction(told, reason, disruption=False)
        self._shop.voice.pod(self.pod, "Warning", reason, message)

    def look(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def evict(self, said: eviction.Eviction) -> bool:
        """End the pod for the node's sake, unless it ends already. Whether it was news."""
        memory = self._memory
        if memory.eviction is not None or memory.ending_since is not None or memory.gone:
            return False
        memory.eviction = said
        self._shop.voice.pod(self.pod, "Warning", said.reason, said.message)
        self._wake.set()
        return True

    def make_room(self) -> None:
        """Of a pod that is over: keep nothing but its status."""
        self._memory.room_wanted = True
        self.cleared.clear()
        self._wake.set()

    def _is_cleared(self) -> bool:
        memory, containers = self._memory, self._shop.observer.pod(self.pod.metadata.uid)
        return memory.finished or (self.pod.terminal and memory.torn_down and not containers)

    def retry(self, prefix: str) -> None:
        """What failed with such a topic may go well now."""
        for topic in [topic for topic in self._memory.failures if topic.startswith(prefix)]:
            del self._memory.failures[topic]
        self._wake.set()

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        await self._reopen_logs()
        try:
            async with asyncio.TaskGroup() as group:
                while not self._memory.finished:
                    self._wake.clear()
                    with self._shop.figures.turns.timed():
                        await self._turn(group)
                    await self._wake.wait()
                for task in self._jobs.values():
                    task.cancel()
        finally:
            self.cleared.set()
            if self._timer is not None:
                self._timer.cancel()

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        now = self._shop.clock.monotonic()
        pod, seen = self.pod, self._look()
        if seen.eviction is not None and not self._memory.eviction_told:
            # Before anything ends: a restart must not take the end for a crash.
            await self._status.write(pod, seen, durable=True)
            self._memory.eviction_told = True
        decided = pod_plan.plan(pod, seen, now, self._policy)
        self._call_off(decided.actions)
        self._begin(decided.actions, group)
        # What is due by now is in the plan.
        moments = (decided.wake_at, self._shop.volumes.wake_at(pod.metadata.uid))
        later = [at for at in moments if at is not None and at > now]
        self._set_timer(min(later, default=None), now)
        if not self._memory.gone:
            self._note_start(await self._status.write(pod, seen))
        self.told.set()
        if self._is_cleared():
            self.cleared.set()

    def _note_start(self, phase: str) -> None:
        if self._start_counts and phase == "Running":
            self._start_counts = False
            waited = self._shop.clock.monotonic() - self._memory.accepted_at
            self._shop.figures.pod_start.observe(waited)

    def _look(self) -> PodSeen:
        memory, shop = self._memory, self._shop
        self._notice_lost_sandbox()
        containers = shop.observer.pod(self.pod.metadata.uid)
        wanted = memory.volumes or ""
        ending = memory.gone or bool(self.pod.metadata.deletion_timestamp)
        if not ending:
            wanted = shop.volumes.version(self.pod)
        moved = shop.devices.moved(self.pod.metadata.uid, containers)
        held = shop.devices.held(self.pod)
        seen = memory.seen(containers, wanted, moved, held)
        now = shop.clock.monotonic()
        said = pod_phase.verdict(self.pod, seen, now)
        if memory.ending_since is None and (ending or said is not None):
            if said is not None and said.reason == pod_phase.DEADLINE and not self.pod.terminal:
                shop.voice.pod(self.pod, "Normal", said.reason, said.message)
            memory.ending_since = now
            seen = memory.seen(containers, wanted, moved, held)
        return seen

    def _notice_lost_sandbox(self) -> None:
        memory = self._memory
        if memory.sandbox and not self._shop.sandboxes.stands(
            self.pod.metadata.uid, memory.sandbox
        ):
            log.warning("The first process of pod %s has ended", self.pod.metadata.name)
            memory.sandbox = None
            memory.token = secrets.token_hex(8)

    def _call_off(self, wanted: tuple[Action, ...]) -> None:
        keep = set(wanted)
        for action, task in self._jobs.items():
            if action not in keep and isinstance(action, actions.CALLED_OFF):
                task.cancel()

    def _begin(self, wanted: tuple[Action, ...], group: asyncio.TaskGroup) -> None:
        for action in wanted:
            if action in self._jobs:
                continue
            if isinstance(action, _ALONE) and self._jobs:
                continue
            claims = self._claims(action)
            if any(claims & self._claims(other) for other in self._jobs):
                continue
            name = f"{type(action).__name__} {self.pod.metadata.name}"
            task = group.create_task(self._job(action), name=name)
            self._jobs[action] = task
            task.add_done_callback(functools.partial(self._ended, action))

    def _claims(self, action: Action) -> frozenset[str]:
        """What no two jobs may touch at once."""
        match action:
            case actions.EnsureSandbox() | actions.RestartAll():
                return frozenset({"sandbox"})
            case actions.MountVolumes():
                return frozenset({"volumes"})
            case actions.CreateContainer():
                uid = self.pod.metadata.uid
                return frozenset({container_labels.container_id(uid, action.name, action.attempt)})
            case actions.StartContainer() | actions.Settle() | actions.RemoveContainer():
                return frozenset({action.id})
            case actions.Signal() | actions.RunPreStop() | actions.BeginStop():
                return frozenset({f"stop {action.id}"})
            case _:
                return frozenset()

    async def _job(self, action: Action) -> None:
        """Never raises but for cancellation: a failure becomes part of what is seen."""
        try:
            with self._shop.figures.performing(action):
                await self._executor.perform(action, self._wake)
        except Exception as error:
            self._failed(action, error)
        else:
            self._memory.failures.pop(action.topic, None)

    def _failed(self, action: Action, error: Exception) -> None:
        before = self._memory.failures.get(action.topic)
        failure = failures.judge(action, error, before, self._shop.clock.monotonic())
        if failure is not None:
            self._memory.failures[action.topic] = failure
        if failures.lacks_room(action, error):
            self._shop.give_way()
        news = before is None or failure is None or before.message != failure.message
        failures.tell(action, error, self.pod, self._shop.voice, news=news)

    def _ended(self, action: Action, _: asyncio.Task[None]) -> None:
        del self._jobs[action]
        self._wake.set()

    def _set_timer(self, at: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at - now), self._wake.set)

    async def _reopen_logs(self) -> None:
        """Take up the output of what an earlier process has started."""
        shop = self._shop
        specs = {spec.name: spec for spec, _ in pod_plan.containers_of(self.pod)}
        for container in shop.observer.pod(self.pod.metadata.uid):
            spec = specs.get(container.name)
            if spec is None or container.settled or container.state is State.CREATED:
                continue
            try:
                await shop.hear(self.pod.metadata, spec, container)
            except OSError as error:
                log.warning("Cannot take up the log of %s: %s", container.id, error)
