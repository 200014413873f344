"""HorizontalPodAutoscaler → the size of a workload, from what its pods use.

The decisions are core.autoscaling. Looks come every 15 seconds, only while there is an autoscaler.
What was recommended lately is kept in memory: after a restart of the process a scale-down waits its
time again, as it does in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar, Protocol

from msgspec import Struct

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import autoscaling as deciding
from edgeorch.core import pod_facts, replica_calculator, scaling_rules
from edgeorch.model import autoscaling, errors, kinds, selectors
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.AUTOSCALER.resource
_SCALABLE = {
    (kind.group, kind.kind): kind
    for kind in (
        kinds.DEPLOYMENT,
        kinds.REPLICA_SET,
        kinds.STATEFUL_SET,
        kinds.REPLICATION_CONTROLLER,
    )
}
_FIRST_WINDOW = 5.0
"""Seconds over which usage is first measured: a new autoscaler need not wait a whole period."""


class Usage(Protocol):
    """`cpu` in billionths of a core, `memory` in bytes, over `window` seconds."""

    @property
    def cpu(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def window(self) -> float: ...


class Meter(Protocol):
    async def since_last(self, names: set[index.Key]) -> Mapping[index.Key, Mapping[str, Usage]]:
        """What the containers of pods used since it was last asked of them."""


class _Target(Struct, frozen=True):
    """A workload that has a size. `under`: one label that all its pods have."""

    key: index.Key
    uid: str
    kind: kinds.Kind
    replicas: int
    selector: str
    matches: selectors.LabelMatch
    under: object


class _UnscalableError(Exception):
    """There is no such target, or it has no size."""


class Autoscalers(frame.Controller[index.Key]):
    name: ClassVar[str] = "horizontal-pod-autoscaler"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World, meter: Meter | None) -> None:
        """`meter` None: nothing can be measured."""
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._meter = meter
        self._histories: dict[index.Key, scaling_rules.History] = {}
        self._targets: dict[index.Key, _Target] = {}
        self._under: dict[object, set[index.Key]] = {}
        self.wake_on(shared.autoscalers, _of_itself)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None or stored.view(projections.Owned).metadata.deletion_timestamp:
            self._select(key, None)
            self._histories.pop(key, None)
            return None
        hpa, obj = stored.view(autoscaling.Autoscaler), stored.decode()
        history = self._histories.get(key)
        try:
            target = self._target(key[0], hpa.spec.scale_target_ref)
        except _UnscalableError as error:
            self._select(key, None)
            found = deciding.unscalable(history, obj.get("status") or {}, str(error))
            await self._report(key, hpa, obj, found)
            return deciding.PERIOD
        self._select(key, target)
        decision = await self._decide(key, hpa, target, history)
        if history is None:
            self._histories[key] = decision.history
            if decision.failed:
                # Nothing could be measured yet.
                return _FIRST_WINDOW
        if decision.scale_to is not None:
            decision = await self._scale(hpa, target, decision)
        self._histories[key] = decision.history
        await self._report(key, hpa, obj, decision)
        return deciding.PERIOD

    # --- seeing ---------------------------------------------------------------------------------

    def _target(self, namespace: str, ref: autoscaling.Reference) -> _Target:
        """Raises _UnscalableError."""
        group = ref.api_version.rpartition("/")[0]
        kind = _SCALABLE.get((group, ref.kind))
        if kind is None:
            known = any((each.group, each.kind) == (group, ref.kind) for each in kinds.BUILT_IN)
            if known:
                raise _UnscalableError("the server could not find the requested resource")
            raise _UnscalableError(f'no matches for kind "{ref.kind}" in group "{group}"')
        stored = self._objects.find(kind.resource, namespace, ref.name)
        if stored is None:
            name, _, where = kind.resource.partition(".")
            resource = f"{name}/scale.{where}" if where else f"{name}/scale"
            raise _UnscalableError(f'{resource} "{ref.name}" not found')
        obj = stored.decode()
        spec = obj["spec"]
        selector = spec.get("selector") or {}
        if kind is kinds.REPLICATION_CONTROLLER:
            selector = {"matchLabels": selector}
        replicas = spec.get("replicas")
        return _Target(
            stored.key,
            obj["metadata"]["uid"],
            kind,
            1 if replicas is None else replicas,
            selectors.format_labels(selectors.of_selector(selector)),
            selectors.label_selector(selector),
            index.under_selector(namespace, selector.get("matchLabels") or {}),
        )

    async def _decide(
        self,
        key: index.Key,
        hpa: autoscaling.Autoscaler,
        target: _Target,
        history: scaling_rules.History | None,
    ) -> deciding.Decision:
        pods = [
            pod
            for pod in self._world.pods.find(target.under)
            if target.matches(pod.metadata.labels)
        ]
        usages = await self._measure(pods)
        now = self._world.clock.monotonic()
        look = replica_calculator.Look(key[0], pods, usages, now)
        rivals = [(name, namespace) for namespace, name in self._rivals(pods)]
        found = deciding.Target(target.replicas, target.selector, rivals)
        return deciding.decide(hpa.spec, found, look, history)

    async def _measure(self, pods: list[pod_facts.PodFacts]) -> dict[str, replica_calculator.Usage]:
        if self._meter is None or not pods:
            return {}
        names = {(pod.metadata.namespace, pod.metadata.name) for pod in pods}
        found = {}
        for (_, name), containers in (await self._meter.since_last(names)).items():
            amounts = {each: (used.cpu, used.memory) for each, used in containers.items()}
            window = max(used.window for used in containers.values())
            found[name] = replica_calculator.Usage(amounts, window)
        return found

    # --- whose pods they are --------------------------------------------------------------------

    def _select(self, key: index.Key, target: _Target | None) -> None:
        former = self._targets.pop(key, None)
        if former is not None:
            under = self._under[former.under]
            under.discard(key)
            if not under:
                del self._under[former.under]
        if target is not None:
            self._targets[key] = target
            self._under.setdefault(target.under, set()).add(key)

    def _rivals(self, pods: Iterable[pod_facts.PodFacts]) -> set[index.Key]:
        """All autoscalers whose targets select some of the pods."""
        found = set()
        for pod in pods:
            labels = pod.metadata.labels
            for under in index.under_labels(pod.metadata.namespace, labels):
                for key in self._under.get(under, ()):
                    if self._targets[key].matches(labels):
                        found.add(key)
        return found

    # --- acting ---------------------------------------------------------------------------------

    async def _scale(
        self, hpa: autoscaling.Autoscaler, target: _Target, decision: deciding.Decision
    ) -> deciding.Decision:
        """Raises StatusError when the target has changed meanwhile: it is looked at again."""
        change = partial(_scaled, target=target, replicas=decision.scale_to or 0)
        try:
            await self._objects.update(target.kind.resource, *target.key, change)
        except errors.StatusError as error:
            if error.code == 409:
                raise
            return deciding.refused(decision, str(error))
        return deciding.done(decision, hpa.spec, self._world.clock.monotonic())

    async def _report(
        self,
        key: index.Key,
        hpa: autoscaling.Autoscaler,
        obj: Object,
        decision: deciding.Decision,
    ) -> None:
        for told in decision.told:
            kind = recorder.WARNING if told.warning else recorder.NORMAL
            self._events.event(obj, kind, told.reason, told.message)
        old = obj.get("status") or {}
        status = deciding.status(hpa, decision, self._world.stamp())
        if status == old:
            return
        # What is used changes with every look, and is not worth a write to the medium each time.
        fleeting = {**old, "currentMetrics": None} == {**status, "currentMetrics": None}
        change = partial(_with_status, status=status)
        work = self._objects.update_status(_RESOURCE, *key, change, fleeting=fleeting)
        await frame.ignoring_absence(work)


def _of_itself(change: index.Change[tuple[str, int]]) -> Iterable[index.Key]:
    """What it is asked for has changed; its status tells it nothing new."""
    if change.old is None or change.new is None or change.old != change.new:
        yield change.key


def _scaled(obj: Object, target: _Target, replicas: int) -> Object:
    """Raises StatusError (409) when it is no longer what was looked at."""
    meta, spec = obj["metadata"], obj["spec"]
    if meta["uid"] != target.uid or spec.get("replicas", 1) != target.replicas:
        raise errors.conflict(target.kind.resource, meta["name"], errors.MODIFIED)
    return {**obj, "spec": {**spec, "replicas": replicas}}


def _with_status(obj: Object, status: Object) -> Object:
    return {**obj, "status": status}
