"""StatefulSet → Pods and their claims, one after the other, under names that stay.

The decisions are core.stateful and core.history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, pod_control, revision_history, world
from edgeorch.core import history, pod_facts, replicas, stateful
from edgeorch.lib import json
from edgeorch.model import errors, kinds, workloads
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE, _PODS = kinds.STATEFUL_SET.resource, kinds.POD.resource
_CLAIMS = kinds.PERSISTENT_VOLUME_CLAIM.resource
_HASH = "controller.kubernetes.io/hash"
_STALE_CLAIM = 1.0
"""Seconds until a pod is tried again whose claim is still on its way out."""


class _Wait(Exception):
    """What a pod needs is not there yet."""


class StatefulSets(frame.Controller[index.Key]):
    name: ClassVar[str] = "statefulset-controller"
    workers: ClassVar[int] = 2

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._pods = pod_control.PodControl(shared, self._events)
        self._history = revision_history.RevisionHistory(shared, _HASH)
        self.wake_on(shared.stateful_sets, frame.itself)
        self.wake_on(shared.pods, self._of_pod)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        return pod_control.owners(change, kinds.STATEFUL_SET, self._world.stateful_sets)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view, obj = stored.view(workloads.StatefulSet), stored.decode()
        meta, selector = view.metadata, view.spec.selector
        pods = await self._pods.claim(meta, selector, obj, partial(_is_member, meta.name))
        settled = await self._history.settle(meta, selector, obj, view.status.collision_count)
        if settled.update is None:
            return await self._collided(key) if settled.collided else None
        names = [each.metadata.name for each in settled.known]
        found = stateful.revisions(view, settled.update.metadata.name, names, pods)
        again = None
        try:
            await self._claim_owners(view, obj, pods)
            now = self._world.clock.monotonic()
            for action in stateful.plan(view, pods, found, now=now):
                await self._carry_out(view, obj, action, settled)
        except _Wait:
            again = _STALE_CLAIM
        finally:
            soon = await self._report(key, found)
        await self._cut(view, settled, found)
        return again if soon is None else soon if again is None else min(soon, again)

    async def _cut(
        self,
        view: workloads.StatefulSet,
        settled: revision_history.Settled,
        found: stateful.Revisions,
    ) -> None:
        pods = self._pods.owned(view.metadata.uid)
        held = {pod.metadata.labels.get(history.LABEL, "") for pod in pods}
        live = {found.current, found.update, *held}
        await self._history.cut(settled, live, view.spec.revision_history_limit)

    async def _collided(self, key: index.Key) -> float:
        def change(obj: Object) -> Object:
            status = obj.get("status") or {}
            count = (status.get("collisionCount") or 0) + 1
            return {**obj, "status": {**status, "collisionCount": count}}

        await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return 0.0

    # --- acting ---------------------------------------------------------------------------------

    async def _carry_out(
        self,
        view: workloads.StatefulSet,
        obj: Object,
        action: stateful.Action,
        settled: revision_history.Settled,
    ) -> None:
        match action:
            case stateful.CreatePod():
                await self._create(view, obj, action, settled)
            case stateful.DeletePod():
                await self._delete(obj, action)
            case stateful.LabelPod():
                change = partial(_labelled, set_name=view.metadata.name)
                await self._pods.change(action.pod, change)

    async def _create(
        self,
        view: workloads.StatefulSet,
        obj: Object,
        action: stateful.CreatePod,
        settled: revision_history.Settled,
    ) -> None:
        name = stateful.pod_name(view.metadata.name, action.ordinal)
        template = view.spec.template
        revision = settled.named(action.revision)
        if revision is not None and revision is not settled.update:
            template = history.template_of(revision)
        try:
            await self._create_claims(view, obj, name)
            # The store takes over what it is given.
            pod = stateful.new_pod(obj, json.decode(json.encode(template)), action)
            await self._objects.create(_PODS, pod)
        except errors.StatusError as error:
            if not frame.is_namespace_ending(error):
                self._say(obj, "create", name, error)
                raise
        else:
            self._say(obj, "create", name)

    async def _create_claims(self, view: workloads.StatefulSet, obj: Object, name: str) -> None:
        """Raises _Wait while a claim of the pod's predecessor is there, StatusError."""
        namespace, owner = view.metadata.namespace, view.metadata.name
        for claim in json.decode(json.encode(stateful.new_claims(obj, name))):
            wanted = claim["metadata"]["name"]
            known = self._objects.find(_CLAIMS, namespace, wanted)
            if known is not None:
                if stateful.is_stale(known.decode(), ""):
                    raise _Wait
                continue
            claim = stateful.claim_owned(claim, obj, None, condemned=False)
            text = f"create Claim {wanted} Pod {name} in StatefulSet {owner}"
            try:
                await self._objects.create(_CLAIMS, claim)
            except errors.StatusError as error:
                message = f"{text} failed error: {error}"
                self._events.event(obj, recorder.WARNING, "FailedCreate", message)
                raise
            self._events.event(obj, recorder.NORMAL, "SuccessfulCreate", f"{text} success")

    async def _delete(self, obj: Object, action: stateful.DeletePod) -> None:
        meta = action.pod.metadata
        if action.recreated:
            place = f"StatefulSet {meta.namespace}/{obj['metadata']['name']}"
            if action.pod.status.phase == "Failed":
                message = f"{place} is recreating failed Pod {meta.name}"
                self._events.event(obj, recorder.WARNING, "RecreatingFailedPod", message)
            else:
                message = f"{place} is recreating terminated Pod {meta.name}"
                self._events.event(obj, recorder.NORMAL, "RecreatingTerminatedPod", message)
        options = {"preconditions": {"uid": meta.uid}}
        try:
            await self._objects.delete(_PODS, meta.namespace, meta.name, options)
        except errors.StatusError as error:
            if error.code not in (404, 409):
                self._say(obj, "delete", meta.name, error)
                raise
        else:
            self._say(obj, "delete", meta.name)

    def _say(
        self, obj: Object, verb: str, name: str, error: errors.StatusError | None = None
    ) -> None:
        text = f"{verb} Pod {name} in StatefulSet {obj['metadata']['name']}"
        reason = verb.capitalize()
        if error is None:
            self._events.event(obj, recorder.NORMAL, f"Successful{reason}", f"{text} successful")
        else:
            message = f"{text} failed error: {error}"
            self._events.event(obj, recorder.WARNING, f"Failed{reason}", message)

    async def _claim_owners(
        self, view: workloads.StatefulSet, obj: Object, pods: Sequence[pod_facts.PodFacts]
    ) -> None:
        """Claims go with the set or with their pod, as the retention policy says."""
        if not view.spec.volume_claim_templates or view.metadata.deletion_timestamp:
            return
        _, condemned = stateful.split(view, pods)
        beyond = {pod.metadata.name for pod in condemned}
        for pod in pods:
            meta = pod.metadata
            owner = {"apiVersion": "v1", "kind": "Pod"}
            holder = {**owner, "metadata": {"name": meta.name, "uid": meta.uid}}
            for name in stateful.claim_names(view, meta.name):
                known = self._objects.find(_CLAIMS, meta.namespace, name)
                if known is None or stateful.is_stale(known.decode(), meta.uid):
                    continue
                change = partial(
                    stateful.claim_owned,
                    stateful_set=obj,
                    pod=holder,
                    condemned=meta.name in beyond,
                )
                work = self._objects.update(_CLAIMS, meta.namespace, name, change)
                await frame.ignoring_absence(work)

    # --- reporting ------------------------------------------------------------------------------

    async def _report(self, key: index.Key, found: stateful.Revisions) -> float | None:
        """Bring the status up to date; the seconds until time alone changes it."""
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view = stored.view(workloads.StatefulSet)
        pods = self._pods.owned(view.metadata.uid)
        now = self._world.clock.monotonic()
        status = stateful.status(view, pods, found, now=now)
        if status != stored.decode().get("status"):
            change = partial(_with_status, status=status)
            await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return replicas.next_available(pods, now, view.spec.min_ready_seconds)


def _is_member(set_name: str, pod: pod_facts.PodFacts) -> bool:
    return stateful.ordinal_of(set_name, pod.metadata.name) is not None


def _labelled(obj: Object, set_name: str) -> Object:
    meta = obj["metadata"]
    labels = {**(meta.get("labels") or {}), **stateful.identity(set_name, meta["name"])}
    return {**obj, "metadata": {**meta, "labels": labels}}


def _with_status(obj: Object, status: Object) -> Object:
    return {**obj, "status": status}
