"""Pods → the node: binds what fits, says why not of what does not, tries again when room is made.

The decision is core.scheduling. One worker, so that no two pods are promised the same room. A
binding is derivable and not worth a wait for the medium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import pod_affinity, pod_facts, scheduling, volume_binding, volume_fit
from edgeorch.model import kinds
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.POD.resource
_CLAIMS = kinds.PERSISTENT_VOLUME_CLAIM.resource


class Scheduling(frame.Controller[index.Key]):
    name: ClassVar[str] = "default-scheduler"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._usage = scheduling.Usage()
        self.wake_on(shared.pods, self._of_pod)
        self.wake_on(shared.nodes, lambda _: self._waiting())
        self.wake_on(shared.claims, lambda _: self._waiting())
        self.wake_on(shared.volumes, lambda _: self._waiting())
        self.wake_on(shared.storage_classes, lambda _: self._waiting())

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        old, new = change.old, change.new
        held, holds = _holds(old), _holds(new)
        if held != holds:
            if old is not None and held:
                self._usage.add(old, -1)
            if new is not None and holds:
                self._usage.add(new)
        if held and not holds:
            yield from self._waiting()
        elif holds and _moved(old, new):
            # Those who want to be with others, or away from them, may be happy now.
            yield from self._waiting(pod_affinity.concerned)
        elif new is not None and not new.spec.node_name and not new.terminal:
            yield from self._of_unbound(change)

    def _of_unbound(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        # Its own status changing is no reason to try it again.
        if change.old is None or change.new is None or change.old.spec != change.new.spec:
            yield change.key

    def _waiting(
        self, which: Callable[[pod_facts.PodFacts], bool] = lambda _: True
    ) -> list[index.Key]:
        pods = sorted(self._world.pods.find(projections.WAITING), key=scheduling.order)
        return [(pod.metadata.namespace, pod.metadata.name) for pod in pods if which(pod)]

    async def reconcile(self, key: index.Key) -> float | None:
        pod = self._world.pods.get(key)
        if pod is None or pod.spec.node_name or pod.terminal or pod.terminating:
            return None
        if pod.spec.scheduler_name not in ("", scheduling.DEFAULT):
            return None  # somebody else's
        if pod.spec.scheduling_gates:
            await self._say(key, "SchedulingGated", scheduling.GATED)
            return None
        node = self._world.nodes.get(("", self._world.node_name))
        if node is None:
            await self._refuse(key, scheduling.NO_NODES)
            return None
        volumes = self._volumes(pod)
        refusal = (
            volume_fit.unusable(pod, volumes)
            or scheduling.fit(pod, node, self._usage, self._neighbours(pod))
            or volume_fit.conflict(pod, node, volumes)
        )
        if refusal is not None:
            await self._refuse(key, refusal.message())
            return None
        waits_for = volume_fit.open_claims(pod, volumes)
        if waits_for:
            # The pod is tried again when they are bound.
            await self._choose_node(key[0], waits_for)
            return None
        await frame.ignoring_absence(self._bind(key, pod.metadata.uid))
        return None

    def _neighbours(self, pod: pod_facts.PodFacts) -> pod_affinity.Neighbours:
        """Those that matter to the pod, or to which it matters: mostly nobody."""
        shared = self._world
        found = (
            shared.pods.all()
            if pod_affinity.concerned(pod)
            else shared.pods.find(projections.PARTICULAR)
        )
        pods = [each for each in found if _holds(each)]
        if not pods:
            return pod_affinity.NOBODY
        namespaces = {each.metadata.name: each.metadata.labels for each in shared.namespaces.all()}
        return pod_affinity.Neighbours(pods, namespaces)

    def _volumes(self, pod: pod_facts.PodFacts) -> volume_fit.Seen:
        shared, namespace = self._world, pod.metadata.namespace
        if not pod.claims:
            return volume_fit.Seen(lambda _: None, {}, {}, lambda _: ())
        return volume_fit.Seen(
            claim=lambda name: shared.claims.get((namespace, name)),
            volumes={each.metadata.name: each for each in shared.volumes.all()},
            classes={each.metadata.name: each for each in shared.storage_classes.all()},
            others=lambda name: shared.pods.find(projections.claim_key(namespace, name)),
        )

    async def _choose_node(self, namespace: str, claims: Iterable[str]) -> None:
        """Tell the claims of a pod that fits where their volumes are to be."""
        change = partial(_chosen, node=self._world.node_name)
        for name in claims:
            await frame.ignoring_absence(self._objects.update(_CLAIMS, namespace, name, change))

    async def _bind(self, key: index.Key, uid: str) -> None:
        node = self._world.node_name
        change = partial(_bound, node=node, uid=uid)
        stored = await self._objects.update(
            _RESOURCE, *key, change, subresource="binding", durable=False
        )
        said = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._world.stamp()}
        await self._objects.update_status(_RESOURCE, *key, partial(_with_condition, said=said))
        message = f"Successfully assigned {key[0]}/{key[1]} to {node}"
        self._events.event(stored.decode(), recorder.NORMAL, "Scheduled", message)

    async def _refuse(self, key: index.Key, message: str) -> None:
        obj = await self._say(key, "Unschedulable", message)
        if obj is not None:
            self._events.event(obj, recorder.WARNING, "FailedScheduling", message)

    async def _say(self, key: index.Key, reason: str, message: str) -> Object | None:
        said = {
            "type": "PodScheduled",
            "status": "False",
            "lastTransitionTime": self._world.stamp(),
            "reason": reason,
            "message": message,
        }
        change = partial(_with_condition, said=said)
        stored = await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return stored.decode() if stored is not None else None


def _holds(pod: pod_facts.PodFacts | None) -> bool:
    return pod is not None and bool(pod.spec.node_name) and not pod.terminal


def _moved(old: pod_facts.PodFacts | None, new: pod_facts.PodFacts | None) -> bool:
    """Whether it has come to the node, or others now find another pod there."""
    if old is None or new is None or not _holds(old):
        return True
    return old.metadata.labels != new.metadata.labels


def _chosen(obj: Object, node: str) -> Object:
    meta = obj["metadata"]
    annotations = {**(meta.get("annotations") or {}), volume_binding.SELECTED_NODE: node}
    return {**obj, "metadata": {**meta, "annotations": annotations}}


def _bound(obj: Object, node: str, uid: str) -> Object:
    if obj["metadata"]["uid"] != uid or obj["spec"].get("nodeName"):
        return obj
    return {**obj, "spec": {**obj["spec"], "nodeName": node}}


def _with_condition(obj: Object, said: Object) -> Object:
    """The condition as said; unchanged in substance, it keeps its time."""
    status = obj.get("status") or {}
    conditions: list[dict[str, Any]] = []
    for each in status.get("conditions") or []:
        if each["type"] != said["type"]:
            conditions.append(each)
        elif each["status"] == said["status"] and each.get("lastTransitionTime"):
            said = {**said, "lastTransitionTime": each["lastTransitionTime"]}
    return {**obj, "status": {**status, "conditions": [*conditions, said]}}
