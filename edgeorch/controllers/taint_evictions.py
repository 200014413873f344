"""Taints of the node → ends of pods: those that do not tolerate a NoExecute taint have to go.

How long each may stay is core.taints. Time runs from when the taint was first seen, on the clock
that no correction moves; after a restart of the process it runs anew, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import pod_facts, taints
from edgeorch.model import kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.POD.resource


class TaintEvictions(frame.Controller[index.Key]):
    name: ClassVar[str] = "taint-eviction-controller"

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._begun: dict[index.Key, tuple[str, float]] = {}
        """Pods that are to go: uid, and since when."""
        self.wake_on(shared.nodes, self._of_node)
        self.wake_on(shared.pods, self._of_pod)

    def _of_node(self, change: index.Change[views.Node]) -> Iterable[index.Key]:
        old = change.old.spec.taints if change.old is not None else []
        new = change.new.spec.taints if change.new is not None else []
        if _evicting(old) != _evicting(new):
            for pod in self._world.pods.all():
                if pod.spec.node_name == change.key[1]:
                    yield pod.metadata.namespace, pod.metadata.name

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        if change.new is None:
            self._begun.pop(change.key, None)
        elif self._taints() and (change.old is None or change.old.spec != change.new.spec):
            yield change.key

    def _taints(self) -> list[views.Taint]:
        node = self._world.nodes.get(("", self._world.node_name))
        return _evicting(node.spec.taints) if node is not None else []

    async def reconcile(self, key: index.Key) -> float | None:
        pod = self._world.pods.get(key)
        mine = pod is not None and pod.spec.node_name == self._world.node_name
        if pod is None or not mine or pod.terminating:
            self._begun.pop(key, None)
            return None
        left = taints.stay(pod, self._taints())
        if left is None:
            if self._begun.pop(key, None) is not None:
                self._say(pod, f"Cancelling deletion of Pod {key[0]}/{key[1]}")
            return None
        now = self._world.clock.monotonic()
        uid, since = self._begun.get(key, ("", now))
        if uid != pod.metadata.uid:
            since = now
        self._begun[key] = (pod.metadata.uid, since)
        if since + left > now:
            return since + left - now
        await frame.ignoring_absence(self._evict(pod, key))
        self._begun.pop(key, None)
        return None

    async def _evict(self, pod: pod_facts.PodFacts, key: index.Key) -> None:
        self._say(pod, f"Marking for deletion Pod {key[0]}/{key[1]}")
        change = partial(_marked, stamp=self._world.stamp())
        await self._objects.update_status(_RESOURCE, *key, change)
        options: Object = {"preconditions": {"uid": pod.metadata.uid}}
        await self._objects.delete(_RESOURCE, *key, options)

    def _say(self, pod: pod_facts.PodFacts, message: str) -> None:
        stored = self._objects.find(_RESOURCE, pod.metadata.namespace, pod.metadata.name)
        if stored is not None:
            self._events.event(stored.decode(), recorder.NORMAL, taints.EVENT, message)


def _evicting(listed: Iterable[views.Taint]) -> list[views.Taint]:
    return [taint for taint in listed if taint.effect == taints.NO_EXECUTE]


def _marked(obj: Object, stamp: str) -> Object:
    status = obj.get("status") or {}
    said: Object = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastTransitionTime": stamp,
        "reason": taints.REASON,
        "message": taints.MESSAGE,
    }
    others = [each for each in status.get("conditions") or [] if each["type"] != said["type"]]
    return {**obj, "status": {**status, "conditions": [*others, said]}}
