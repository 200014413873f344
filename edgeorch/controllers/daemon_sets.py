"""DaemonSet → the one pod of the one node, and its rolling update.

The decisions are core.daemon and core.history. Pods that fail are replaced with a back-off, so that
one that cannot live does not keep the device busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, pod_control, revision_history, world
from edgeorch.core import daemon, history, pod_facts, replicas
from edgeorch.lib import backoff, json
from edgeorch.model import errors, kinds, views, workloads
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.DAEMON_SET.resource
_BACK_OFF = backoff.Policy(initial=1.0, factor=2.0, cap=900.0)
_FORGIVEN = 2 * _BACK_OFF.cap
"""Seconds without a failure after which earlier ones are forgotten."""


class DaemonSets(frame.Controller[index.Key]):
    name: ClassVar[str] = "daemonset-controller"
    workers: ClassVar[int] = 2

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._pods = pod_control.PodControl(shared, self._events)
        self._history = revision_history.RevisionHistory(shared, history.LABEL)
        self._failures: dict[index.Key, tuple[int, float]] = {}
        self.wake_on(shared.daemon_sets, frame.itself)
        self.wake_on(shared.pods, self._of_pod)
        self.wake_on(shared.nodes, self._of_node)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        return pod_control.owners(change, kinds.DAEMON_SET, self._world.daemon_sets)

    def _of_node(self, change: index.Change[views.Node]) -> Iterable[index.Key]:
        old, new = change.old, change.new
        # A heartbeat is no reason to look again.
        if old and new and (old.spec, old.metadata.labels) == (new.spec, new.metadata.labels):
            return
        for found in self._world.daemon_sets.all():
            yield found.metadata.namespace, found.metadata.name

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            self._failures.pop(key, None)
            return None
        view, obj = stored.view(workloads.DaemonSet), stored.decode()
        meta, selector = view.metadata, view.spec.selector
        pods = await self._pods.claim(meta, selector, obj)
        settled = await self._history.settle(meta, selector, obj, view.status.collision_count)
        if settled.update is None:
            return await self._collided(key) if settled.collided else None
        hashed = settled.update.metadata.labels.get(history.LABEL, "")
        found = daemon.place(view.spec.template, self._node())
        now = self._world.clock.monotonic()
        plan = daemon.plan(view, pods, found, hashed, now=now)
        error = await self._carry_out(obj, plan, hashed)
        again = await self._replace(key, obj, plan.over, now)
        soon = await self._report(key, found, hashed)
        if error is not None:
            raise error
        await self._cut(view, settled)
        waits = [each for each in (again, soon) if each is not None]
        return min(waits, default=None)

    def _node(self) -> views.Node | None:
        return self._world.nodes.get(("", self._world.node_name))

    async def _carry_out(
        self, obj: Object, plan: daemon.Plan, hashed: str
    ) -> errors.StatusError | None:
        error = await self._pods.delete(obj, plan.delete)
        if error is None and plan.create:
            template = json.encode(obj["spec"]["template"])
            node = self._world.node_name
            error = await self._pods.create(
                obj, 1, lambda: daemon.new_pod(obj, json.decode(template), hashed, node)
            )
        return error

    async def _replace(
        self, key: index.Key, obj: Object, over: Sequence[pod_facts.PodFacts], now: float
    ) -> float | None:
        """Give up pods that are over, not too often; the seconds until it may be done."""
        if not over:
            return None
        count, last = self._failures.get(key, (0, 0.0))
        if count and now - last > _FORGIVEN:
            count = 0
        wait = last + _BACK_OFF.delay(count - 1) - now if count else 0.0
        if wait > 0:
            return wait
        self._failures[key] = count + 1, now
        for pod in over:
            self._say_over(obj, pod)
        error = await self._pods.delete(obj, over)
        if error is not None:
            raise error
        return None

    def _say_over(self, obj: Object, pod: pod_facts.PodFacts) -> None:
        meta, node = pod.metadata, self._world.node_name
        place = f"daemon pod {meta.namespace}/{meta.name} on node {node}, will try to"
        if pod.status.phase == "Failed":
            message = f"Found failed {place} kill it"
            self._events.event(obj, recorder.WARNING, "FailedDaemonPod", message)
        else:
            message = f"Found succeeded {place} delete it"
            self._events.event(obj, recorder.NORMAL, "SucceededDaemonPod", message)

    async def _cut(self, view: workloads.DaemonSet, settled: revision_history.Settled) -> None:
        pods = self._pods.owned(view.metadata.uid)
        held = {pod.metadata.labels.get(history.LABEL, "") for pod in pods}
        live = {
            each.metadata.name
            for each in settled.known
            if each is settled.update or each.metadata.labels.get(history.LABEL) in held
        }
        await self._history.cut(settled, live, view.spec.revision_history_limit)

    async def _collided(self, key: index.Key) -> float:
        def change(obj: Object) -> Object:
            status = obj.get("status") or {}
            count = (status.get("collisionCount") or 0) + 1
            return {**obj, "status": {**status, "collisionCount": count}}

        await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return 0.0

    async def _report(self, key: index.Key, found: daemon.Place, hashed: str) -> float | None:
        """Bring the status up to date; the seconds until time alone changes it."""
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view = stored.view(workloads.DaemonSet)
        pods = self._pods.owned(view.metadata.uid)
        now = self._world.clock.monotonic()
        status = daemon.status(view, pods, found, hashed, now=now)
        if status != stored.decode().get("status"):
            change = partial(_with_status, status=status)
            await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return replicas.next_available(pods, now, view.spec.min_ready_seconds)


def _with_status(obj: Object, status: Object) -> Object:
    return {**obj, "status": status}
