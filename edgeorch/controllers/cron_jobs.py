"""CronJob → Jobs, at the times of its schedule.

The decisions are core.cron_jobs. A Job is named after the minute in which it was due, so making it
twice is making it once; when it was due is on the medium before anything else happens. Each wait
ends with the minute, with the clock being set, or after a while in which a clock that is being
slewed cannot have strayed.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import claims, cron_jobs
from edgeorch.lib import clock as clocks
from edgeorch.model import batch, errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

log = logging.getLogger(__name__)

_RESOURCE, _JOBS = kinds.CRON_JOB.resource, kinds.JOB.resource
_LONGEST_WAIT = 900.0
"""Seconds. A clock is slewed by at most 1/2000: half a second in that time."""


class CronJobs(frame.Controller[index.Key]):
    name: ClassVar[str] = "cronjob-controller"

    def __init__(self, shared: world.World, clock_set: Callable[[], Awaitable[None]]) -> None:
        """`clock_set` waits until somebody sets the wall clock."""
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._clock_set = clock_set
        self._floors: dict[index.Key, datetime.datetime] = {}
        self.wake_on(shared.cron_jobs, frame.itself)
        self.wake_on(shared.jobs, _of_job)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_clock(), name=f"{self.name} clock")
            tasks.create_task(super().run(), name=self.name)

    async def _watch_clock(self) -> None:
        while True:
            try:
                await self._clock_set()
            except OSError as error:
                log.warning("%s; looking every %.0f s instead", error, _LONGEST_WAIT)
                return
            for found in list(self._world.cron_jobs.all()):
                self.wake((found.metadata.namespace, found.metadata.name))

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            self._floors.pop(key, None)
            return None
        view, obj = stored.view(batch.CronJob), stored.decode()
        status = obj.get("status") or {}
        tidied = cron_jobs.tidy(view, status.get("active") or [], self._owned(view.metadata.uid))
        self._tell(obj, tidied.events)
        for job in tidied.delete:
            await self._delete(obj, job.metadata.name, job.metadata.uid)
        now = self._world.clock.now()
        floor = self._floor(key, view, now)
        refs = [batch.ActiveJob(name=ref["name"], uid=ref["uid"]) for ref in tidied.active]
        decision = cron_jobs.decide(view, refs, now, floor)
        self._tell(obj, decision.events)
        status = _with(status, active=tidied.active, lastSuccessfulTime=tidied.last_successful)
        if decision.start is not None:
            status = await self._start(obj, decision.start, status)
            if key in self._floors:
                self._floors[key] = decision.start.time
        await self._report(key, obj, status)
        return self._wait(decision.wake)

    def _owned(self, uid: str) -> list[batch.Job]:
        keys = self._world.jobs.keys(projections.owner_key(uid))
        found = (self._objects.find(_JOBS, *key) for key in keys)
        return [stored.view(batch.Job) for stored in found if stored is not None]

    def _floor(
        self, key: index.Key, view: batch.CronJob, now: datetime.datetime
    ) -> datetime.datetime:
        """Up to when everything has been seen to, also while the clock has lost its time."""
        known = cron_jobs.since(view, now)
        if known is not None:
            self._floors.pop(key, None)
            return known
        floor = self._floors.setdefault(key, now)
        if floor > now:
            # Lost again: what came before is of another reckoning.
            floor = self._floors[key] = now
        return floor

    def _wait(self, wake: datetime.datetime | None) -> float | None:
        if wake is None:
            return None
        left = (wake - self._world.clock.now()).total_seconds()
        return min(max(left, 0.0), _LONGEST_WAIT)

    # --- acting ---------------------------------------------------------------------------------

    def _tell(self, obj: Object, events: Sequence[cron_jobs.Told]) -> None:
        for told in events:
            self._events.event(obj, told.kind, told.reason, told.message)

    async def _start(self, obj: Object, start: cron_jobs.Start, status: Object) -> Object:
        """Make the Job; the status that knows of it."""
        active: list[Object] = status.get("active") or []
        if start.replace:
            for ref in active:
                await self._delete(obj, ref["name"], ref["uid"])
            active = []
        made = cron_jobs.new_job(obj, start.time, claims.reference(obj))
        name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
        try:
            stored = await self._objects.create(_JOBS, made)
        except errors.StatusError as error:
            if frame.is_namespace_ending(error):
                return status
            if error.reason != "AlreadyExists":
                why = f"Error creating job: {error}"
                self._events.event(obj, recorder.WARNING, "FailedCreate", why)
                raise
            stored = self._objects.get(_JOBS, namespace, name)
        else:
            message = f"Created job {name}"
            self._events.event(obj, recorder.NORMAL, "SuccessfulCreate", message)
        job = stored.view(batch.Job)
        owner = job.metadata.controller
        if owner is not None and owner.uid == obj["metadata"]["uid"] and not job.finished:
            active = [*active, cron_jobs.reference(name, namespace, job.metadata.uid)]
        stamp = clocks.rfc3339(start.time)
        latest = max(stamp, status.get("lastScheduleTime") or "")
        return _with(status, active=active, lastScheduleTime=latest)

    async def _delete(self, obj: Object, name: str, uid: str) -> None:
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        namespace = obj["metadata"]["namespace"]
        try:
            await self._objects.delete(_JOBS, namespace, name, options)
        except errors.StatusError as error:
            if error.code in (404, 409):
                return
            why = f"Deleted job: {error}"
            self._events.event(obj, recorder.WARNING, "FailedDelete", why)
            raise
        message = f"Deleted job {name}"
        self._events.event(obj, recorder.NORMAL, "SuccessfulDelete", message)

    async def _report(self, key: index.Key, obj: Object, status: Object) -> None:
        old = obj.get("status") or {}
        if status == old:
            return
        durable = status.get("lastScheduleTime") != old.get("lastScheduleTime")
        work = self._objects.update(
            _RESOURCE,
            *key,
            lambda each: {**each, "status": status},
            subresource="status",
            durable=durable,
        )
        await frame.ignoring_absence(work)


def _of_job(change: index.Change[projections.Selecting]) -> Iterable[index.Key]:
    for found in (change.old, change.new):
        ref = found.controller if found is not None else None
        if ref is not None and ref.kind == kinds.CRON_JOB.kind:
            yield change.key[0], ref.name


def _with(status: Object, **fields: object) -> Object:
    """What is empty is left out."""
    merged = {**status, **fields}
    return {name: value for name, value in merged.items() if value}
