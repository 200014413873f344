"""Job → Pods: runs them until enough have succeeded, and counts each of them once.

The decisions are core.jobs. One reconciliation carries out one plan; each change it makes wakes it
again, until the plan is empty. The status that counts a pod is on the medium before the pod's
finalizer goes, so a kill between any two lines neither loses a pod nor counts it twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar

from edgeorch.controllers import ages, frame, index, projections, world
from edgeorch.core import claims, job_pods, jobs, pod_facts
from edgeorch.lib import json
from edgeorch.model import batch, errors, kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE, _PODS = kinds.JOB.resource, kinds.POD.resource
_MANAGER = "kubernetes.io/job-controller"
_STARTED, _FINISHED = "started", "finished"
_FIRST_BATCH = 8
"""Pods are made in batches that double, so that a device that refuses them is not flooded."""


class Jobs(frame.Controller[index.Key]):
    name: ClassVar[str] = "job-controller"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._ages: dict[index.Key, ages.Ages] = {}
        self.wake_on(shared.jobs, frame.itself)
        self.wake_on(shared.pods, self._of_pod)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        for pod in (change.old, change.new):
            if pod is None:
                continue
            ref = next((ref for ref in pod.metadata.owner_references if ref.controller), None)
            if ref is not None:
                if ref.kind == kinds.JOB.kind:
                    yield pod.metadata.namespace, ref.name
            elif pod is change.new:
                for key in index.under_labels(pod.metadata.namespace, pod.metadata.labels):
                    yield from self._world.jobs.keys(key)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            self._ages.pop(key, None)
            return None
        job = stored.view(batch.Job)
        if job.spec.managed_by not in ("", _MANAGER):
            return None
        if job.finished:
            return await self._after(key, job)
        obj = stored.decode()
        pods = self._seen(await self._claim(job, obj))
        plan = self._plan(key, job, obj, pods)
        await self._report(key, obj, plan)
        await self._delete(obj, plan.delete)
        await self._give_up(obj, plan.give_up)
        await self._release(plan.release)
        await self._create(obj, plan.create)
        return plan.wake

    # --- seeing ---------------------------------------------------------------------------------

    def _owned(self, uid: str) -> list[pod_facts.PodFacts]:
        return self._world.pods.find(projections.owner_key(uid))

    async def _claim(self, job: batch.Job, obj: Object) -> list[pod_facts.PodFacts]:
        """Adopt and release what must be; what it owns then."""
        meta = job.metadata
        where = projections.orphans_of(meta.namespace, job.spec.selector)
        orphans = self._world.pods.find(where)
        deleting = meta.deletion_timestamp is not None
        candidates = [*self._owned(meta.uid), *orphans]
        found = claims.claim(meta.uid, job.spec.selector, deleting, candidates)
        if not found.adopt and not found.release:
            return found.owned
        reference = claims.reference(obj)
        for pod in found.adopt:
            await self._change(
                pod.metadata, lambda each: job_pods.with_finalizer(claims.adopted(each, reference))
            )
        for pod in found.release:
            await self._change(
                pod.metadata,
                lambda each: job_pods.without_finalizer(claims.released(each, meta.uid)),
            )
        return self._owned(meta.uid)

    def _seen(self, owned: Iterable[pod_facts.PodFacts]) -> list[job_pods.JobPod]:
        keys = ((pod.metadata.namespace, pod.metadata.name) for pod in owned)
        found = (self._objects.find(_PODS, *key) for key in keys)
        return [stored.view(job_pods.JobPod) for stored in found if stored is not None]

    def _plan(
        self, key: index.Key, job: batch.Job, obj: Object, pods: Sequence[job_pods.JobPod]
    ) -> jobs.Plan:
        timed = self._ages.setdefault(key, ages.Ages(self._world.clock))
        over = [pod for pod in pods if pod.terminal or pod.leaving]
        timed.keep({_STARTED, *(pod.uid for pod in over)})
        found = jobs.plan(
            job,
            pods,
            obj.get("status") or {},
            stamp=self._world.stamp(),
            active_for=timed.of(_STARTED, job.status.start_time),
            ended={pod.uid: timed.of(pod.uid, pod.ended_at) for pod in over},
        )
        # A start is timed from the moment it is made.
        timed.of(_STARTED, found.status.get("startTime"))
        return found

    # --- acting ---------------------------------------------------------------------------------

    async def _report(self, key: index.Key, obj: Object, plan: jobs.Plan) -> None:
        if plan.status != obj.get("status"):
            work = self._objects.update(
                _RESOURCE,
                *key,
                lambda each: {**each, "status": plan.status},
                subresource="status",
                durable=plan.durable,
            )
            if await frame.ignoring_absence(work) is None:
                return
        for told in plan.events:
            self._events.event(obj, told.kind, told.reason, told.message)

    async def _change(
        self, meta: pod_facts.Meta | job_pods.Meta, change: frame.Change
    ) -> Object | None:
        work = self._objects.update(_PODS, meta.namespace, meta.name, change)
        stored = await frame.ignoring_absence(work)
        return stored.decode() if stored is not None else None

    async def _release(self, pods: Sequence[job_pods.JobPod]) -> None:
        changes = (self._change(pod.metadata, job_pods.without_finalizer) for pod in pods)
        await asyncio.gather(*changes)

    async def _give_up(self, obj: Object, pods: Sequence[job_pods.JobPod]) -> None:
        left = await asyncio.gather(*(self._change(p.metadata, job_pods.given_up) for p in pods))
        held = job_pods.FINALIZER
        unwanted = [
            pod
            for pod, now in zip(pods, left, strict=True)
            if now is not None and held not in (now["metadata"].get("finalizers") or [])
        ]
        await self._delete(obj, unwanted)

    async def _delete(self, obj: Object, pods: Sequence[job_pods.JobPod]) -> None:
        results = await asyncio.gather(*(self._delete_one(obj, pod) for pod in pods))
        _raise_first(results)

    async def _delete_one(self, obj: Object, pod: job_pods.JobPod) -> errors.StatusError | None:
        meta = pod.metadata
        options = {"preconditions": {"uid": meta.uid}}
        try:
            await self._objects.delete(_PODS, meta.namespace, meta.name, options)
        except errors.StatusError as error:
            if error.code in (404, 409):
                return None
            self._events.event(obj, recorder.WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        message = f"Deleted pod: {meta.name}"
        self._events.event(obj, recorder.NORMAL, "SuccessfulDelete", message)
        return None

    async def _create(self, obj: Object, pods: Sequence[job_pods.NewPod]) -> None:
        """The first error ends it; nothing comes of a namespace that is going away."""
        template = json.encode(obj["spec"]["template"])
        size, at = _FIRST_BATCH, 0
        while at < len(pods):
            made = (self._create_one(obj, template, each) for each in pods[at : at + size])
            _raise_first(await asyncio.gather(*made))
            at, size = at + size, size * 2

    async def _create_one(
        self, obj: Object, template: bytes, made: job_pods.NewPod
    ) -> errors.StatusError | None:
        # The store takes over what it is given: each pod has a template of its own.
        pod = job_pods.new_pod(obj, json.decode(template), claims.reference(obj), made)
        try:
            stored = await self._objects.create(_PODS, pod)
        except errors.StatusError as error:
            if frame.is_namespace_ending(error):
                return None
            message = f"Error creating: {error}"
            self._events.event(obj, recorder.WARNING, "FailedCreate", message)
            return error
        message = f"Created pod: {stored.name}"
        self._events.event(obj, recorder.NORMAL, "SuccessfulCreate", message)
        return None

    # --- after the end --------------------------------------------------------------------------

    async def _after(self, key: index.Key, job: batch.Job) -> float | None:
        """What a finished Job leaves: pods to let go, and itself after its time to live."""
        pods = self._seen(self._owned(job.metadata.uid))
        await self._release(jobs.plan(job, pods, {}, stamp="").release)
        ttl = job.spec.ttl_seconds_after_finished
        if ttl is None or job.metadata.deletion_timestamp:
            self._ages.pop(key, None)
            return None
        timed = self._ages.setdefault(key, ages.Ages(self._world.clock))
        left = ttl - timed.of(_FINISHED, _finished_at(job))
        if left > 0:
            return left
        options = {"preconditions": {"uid": job.metadata.uid}, "propagationPolicy": "Foreground"}
        await frame.ignoring_absence(self._objects.delete(_RESOURCE, *key, options))
        return None


def _finished_at(job: batch.Job) -> str:
    condition: views.Condition | None = job.condition(job.finished)
    return (condition.last_transition_time if condition else None) or job.status.completion_time


def _raise_first(results: Iterable[errors.StatusError | None]) -> None:
    error = next((each for each in results if each is not None), None)
    if error is not None:
        raise error
