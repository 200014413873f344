"""Deployment → ReplicaSets: rolls, scales, and says how it goes.

The decisions are core.rollout and core.deployment_status. When progress was last seen is kept in
memory, on the monotonic clock: after a restart of the process a rollout has its whole deadline
again, and a clock that is set never lets one time out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from msgspec import Struct

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import (
    claims,
    deployment_status,
    revisions,
    rollback,
    rollout,
    template_hash,
)
from edgeorch.model import errors, kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE, _SETS = kinds.DEPLOYMENT.resource, kinds.REPLICA_SET.resource
_SELECTING_ALL = "This deployment is selecting all pods. A non-empty selector is required."


class _Outcome(Struct):
    """What carrying out a plan adds to the status."""

    created: str = ""
    revision: str = ""
    collided: bool = False
    failed: deployment_status.Said | None = None
    error: errors.StatusError | None = None


class Deployments(frame.Controller[index.Key]):
    name: ClassVar[str] = "deployment-controller"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World, *, auto_rollback: bool = False) -> None:
        """`auto_rollback`: for Deployments that do not say themselves."""
        super().__init__()
        self._auto_rollback = auto_rollback
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._progress: dict[index.Key, tuple[tuple[object, ...], float]] = {}
        self.wake_on(shared.deployments, frame.itself)
        self.wake_on(shared.replica_sets, self._of_replica_set)

    def _of_replica_set(self, change: index.Change[projections.Selecting]) -> Iterable[index.Key]:
        for found in (change.old, change.new):
            if found is None:
                continue
            meta, ref = found.metadata, found.controller
            if ref is not None:
                if ref.kind == kinds.DEPLOYMENT.kind:
                    yield meta.namespace, ref.name
            elif found is change.new:
                for key in index.under_labels(meta.namespace, meta.labels):
                    yield from self._world.deployments.keys(key)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            self._progress.pop(key, None)
            return None
        view, obj = stored.view(views.Deployment), stored.decode()
        selector = view.spec.selector
        if not selector.match_labels and not selector.match_expressions:
            self._events.event(obj, recorder.WARNING, "SelectingAll", _SELECTING_ALL)
            return None
        sets = await self._claim(view, obj)
        left = view.spec.strategy.type == "Recreate" and self._old_pods_left(view, sets)
        outcome = _Outcome()
        for action in rollout.plan(view, sets, old_pods_left=left):
            await self._carry_out(obj, action, outcome)
        await self._prove(view, sets)
        again = await self._report(key, outcome)
        if outcome.error is not None:
            raise outcome.error
        return again

    # --- seeing ---------------------------------------------------------------------------------

    def _owned(self, uid: str) -> list[views.ReplicaSet]:
        keys = self._world.replica_sets.keys(projections.owner_key(uid))
        found = (self._objects.find(_SETS, *key) for key in keys)
        return [stored.view(views.ReplicaSet) for stored in found if stored is not None]

    async def _claim(self, view: views.Deployment, obj: Object) -> list[views.ReplicaSet]:
        """Adopt and release what must be; what it owns then."""
        meta = view.metadata
        known = self._world.replica_sets
        candidates = [
            *known.find(projections.owner_key(meta.uid)),
            *known.find(projections.orphans_of(meta.namespace, view.spec.selector)),
        ]
        deleting = meta.deletion_timestamp is not None
        found = claims.claim(meta.uid, view.spec.selector, deleting, candidates)
        reference = claims.reference(obj)
        for each in found.adopt:
            await self._change(each, partial(claims.adopted, ref=reference))
        for each in found.release:
            await self._change(each, partial(claims.released, uid=meta.uid))
        return self._owned(meta.uid)

    async def _change(self, found: projections.Selecting, change: frame.Change) -> None:
        meta = found.metadata
        work = self._objects.update(_SETS, meta.namespace, meta.name, change)
        await frame.ignoring_absence(work)

    def _old_pods_left(self, view: views.Deployment, sets: Sequence[views.ReplicaSet]) -> bool:
        """Whether pods of other templates are still there, terminating ones too."""
        _, old = rollout.split(view, sets)
        owners = (projections.owner_key(each.metadata.uid) for each in old)
        return any(not pod.terminal for owner in owners for pod in self._world.pods.find(owner))

    # --- acting ---------------------------------------------------------------------------------

    async def _carry_out(self, obj: Object, action: rollout.Action, outcome: _Outcome) -> None:
        namespace = obj["metadata"]["namespace"]
        match action:
            case rollout.CreateReplicaSet():
                await self._create(obj, action, outcome)
            case rollout.ScaleReplicaSet():
                await self._scale(obj, action)
            case rollout.AnnotateReplicaSet():
                change = partial(_annotated, action=action)
                work = self._objects.update(_SETS, namespace, action.name, change)
                await frame.ignoring_absence(work)
            case rollout.DeleteReplicaSet():
                await frame.ignoring_absence(self._objects.delete(_SETS, namespace, action.name))
            case rollout.SetRevision():
                if outcome.error is None and not outcome.collided:
                    outcome.revision = action.revision

    async def _create(
        self, obj: Object, action: rollout.CreateReplicaSet, outcome: _Outcome
    ) -> None:
        made = rollout.new_replica_set(obj, action, claims.reference(obj))
        name = made["metadata"]["name"]
        try:
            await self._objects.create(_SETS, made)
        except errors.StatusError as error:
            if error.reason == "AlreadyExists":
                outcome.collided = self._is_foreign(obj, name)
            elif not frame.is_namespace_ending(error):
                message = f'Failed to create new replica set "{name}": {error}'
                reason = deployment_status.CREATE_FAILED
                self._events.event(obj, recorder.WARNING, reason, message)
                outcome.failed = deployment_status.Said("Progressing", "False", reason, message)
                outcome.error = error
            return
        outcome.created = name
        if action.replicas:
            message = f"Scaled up replica set {name} from 0 to {action.replicas}"
            self._events.event(obj, recorder.NORMAL, "ScalingReplicaSet", message)

    def _is_foreign(self, obj: Object, name: str) -> bool:
        """The name is taken by what is not this Deployment's own for this template."""
        stored = self._objects.find(_SETS, obj["metadata"]["namespace"], name)
        if stored is None:
            return False
        found = stored.view(views.ReplicaSet)
        owner = found.metadata.controller
        ours = owner is not None and owner.uid == obj["metadata"]["uid"]
        return not (ours and template_hash.same(found.spec.template, obj["spec"]["template"]))

    async def _scale(self, obj: Object, action: rollout.ScaleReplicaSet) -> None:
        namespace = obj["metadata"]["namespace"]
        change = partial(_scaled, action=action)
        work = self._objects.update(_SETS, namespace, action.name, change)
        if await frame.ignoring_absence(work) is None or action.old == action.new:
            return
        way = "up" if action.new > action.old else "down"
        message = f"Scaled {way} replica set {action.name} from {action.old} to {action.new}"
        self._events.event(obj, recorder.NORMAL, "ScalingReplicaSet", message)

    # --- reporting ------------------------------------------------------------------------------

    async def _report(self, key: index.Key, outcome: _Outcome) -> float | None:
        """Bring the status up to date; the seconds until a stuck rollout is overdue."""
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        view, old = stored.view(views.Deployment), stored.decode()
        sets = self._owned(view.metadata.uid)
        stalled = self._stalled(key, view, sets)
        if view.metadata.deletion_timestamp:
            status = deployment_status.deleting(view, sets)
        else:
            status = deployment_status.compute(
                view,
                sets,
                stalled=stalled,
                stamp=self._world.stamp(),
                created=outcome.created,
                failed=outcome.failed,
            )
        current, _ = rollout.split(view, sets)
        said = rollback.condition(view, current)
        stamp = self._world.stamp()
        status["conditions"] = rollback.with_condition(status["conditions"], said, stamp)
        again = await self._roll_back(key, view, sets, status, stalled)
        if outcome.collided:
            status["collisionCount"] = (view.status.collision_count or 0) + 1
        new = _with_status(old, status, outcome.revision)
        if new != old:
            change = partial(_with_status, status=status, revision=outcome.revision)
            await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        left = deployment_status.time_left(view, stalled)
        return again if left is None else left

    async def _prove(self, view: views.Deployment, sets: Sequence[views.ReplicaSet]) -> None:
        found = rollback.to_prove(view, sets)
        if found is not None:
            meta = found.metadata
            work = self._objects.update(_SETS, meta.namespace, meta.name, rollback.proven)
            await frame.ignoring_absence(work)

    async def _roll_back(
        self,
        key: index.Key,
        view: views.Deployment,
        sets: Sequence[views.ReplicaSet],
        status: Object,
        stalled: float,
    ) -> float | None:
        """Go back if it is time to; the seconds until it might be, for a rollout known to be late.

        Before the status is written: should this fail, it is found as late as now once more.
        """
        if not rollback.is_enabled(view, self._auto_rollback):
            return None
        reasons = {each["type"]: each.get("reason", "") for each in status["conditions"]}
        progressing = reasons.get(deployment_status.PROGRESSING, "")
        action = rollback.plan(view, sets, progressing=progressing, stalled=stalled)
        if action is not None:
            change = partial(rollback.applied, action=action)
            stored = await frame.ignoring_absence(self._objects.update(_RESOURCE, *key, change))
            if stored is not None and stored.version != int(view.metadata.resource_version):
                self._events.event(
                    stored.decode(), recorder.WARNING, "AutoRollback", action.message
                )
            return None
        late = progressing == deployment_status.TIMED_OUT
        if not late or rollback.possible(view, sets) is None:
            return None
        return max(0.0, view.spec.progress_deadline_seconds - stalled)

    def _stalled(
        self, key: index.Key, view: views.Deployment, sets: Sequence[views.ReplicaSet]
    ) -> float:
        """Seconds since the rollout of the current template last made progress."""
        now = self._world.clock.monotonic()
        current, _ = rollout.split(view, sets)
        name = current.metadata.name if current is not None else ""
        mark = (name, *deployment_status.progress_mark(view))
        known, since = self._progress.get(key, (None, now))
        if known != mark:
            since = now
            self._progress[key] = (mark, since)
        return now - since


def _with_status(obj: Object, status: Object, revision: str) -> Object:
    """The revision travels with the status: it is no change of what is wanted."""
    if revision:
        meta = dict(obj["metadata"])
        meta["annotations"] = {**(meta.get("annotations") or {}), revisions.REVISION: revision}
        obj = {**obj, "metadata": meta}
    return {**obj, "status": status}


def _scaled(obj: Object, action: rollout.ScaleReplicaSet) -> Object:
    noted = {**(obj["metadata"].get("annotations") or {}), **action.annotations}
    meta = {**obj["metadata"], "annotations": noted}
    return {**obj, "metadata": meta, "spec": {**obj["spec"], "replicas": action.new}}


def _annotated(obj: Object, action: rollout.AnnotateReplicaSet) -> Object:
    noted = {**(obj["metadata"].get("annotations") or {}), **action.annotations}
    spec = {**obj["spec"]}
    spec.pop("minReadySeconds", None)
    if action.min_ready_seconds:
        spec["minReadySeconds"] = action.min_ready_seconds
    return {**obj, "metadata": {**obj["metadata"], "annotations": noted}, "spec": spec}
