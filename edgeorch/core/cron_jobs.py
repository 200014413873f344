"""When a CronJob makes its next Job, which of its Jobs it still knows, and which it throws away.

After pkg/controller/cronjob, with one difference: the wall clock of a device may lose its time (no
battery, no network: 1970) and find it again. The last schedule time never goes back, so that what
has run is not run again when the clock returns; a clock that is more than a year behind it has lost
its time, and until it has found it Jobs come due from the moment that was noticed (`floor`). After
a jump ahead at most one missed run is made up for.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from msgspec import Struct, field

from edgeorch.lib import cron
from edgeorch.model import batch
from edgeorch.model.kinds import Object

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
NORMAL, WARNING = "Normal", "Warning"
_LOST = datetime.timedelta(days=366)
_MANY = 100
_SECOND = datetime.timedelta(seconds=1)
_WINDOWS = tuple(datetime.timedelta(hours=hours) for hours in (2, 48, 24 * 62, 24 * 800, 24 * 4000))


class Told(Struct, frozen=True):
    """An event."""

    kind: str
    reason: str
    message: str


# --- time ---------------------------------------------------------------------------------------


class Due(Struct, frozen=True):
    """`run`: the latest time that has come due and not been seen to. `missed`: how many have."""

    run: datetime.datetime | None
    missed: int
    next: datetime.datetime | None


def since(cron_job: batch.CronJob, now: datetime.datetime) -> datetime.datetime | None:
    """The time up to which everything has been seen to; None: the clock has lost its time."""
    told = cron_job.status.last_schedule_time or cron_job.metadata.creation_timestamp
    found = parse(told) if told else now
    return None if found - now > _LOST else found


def due(
    schedule: cron.Schedule,
    after: datetime.datetime,
    now: datetime.datetime,
    deadline: int | None = None,
) -> Due:
    """What is due of the times later than `after`. `deadline`: seconds a start may be late."""
    coming = schedule.after(now)
    if deadline is not None:
        after = max(after, _before(now, datetime.timedelta(seconds=deadline)))
    first = schedule.after(after)
    if first is None or first > now:
        # A clock that is behind waits until it has caught up with what has been.
        return Due(None, 0, first if first is not None and first > now else coming)
    second = schedule.after(first)
    if second is None or second > now:
        return Due(first, 1, coming)
    step = max(_SECOND, second - first)
    return Due(_latest(schedule, first, now), (now - first) // step + 1, coming)


def _latest(
    schedule: cron.Schedule, first: datetime.datetime, now: datetime.datetime
) -> datetime.datetime:
    """The last time up to `now`, found from near it: there may be millions since `first`."""
    if isinstance(schedule, cron.Every):
        step = datetime.timedelta(seconds=schedule.seconds)
        return first + (now - first) // step * step
    for window in _WINDOWS:
        start = _before(now, window)
        if start <= first:
            break
        found = schedule.after(start)
        if found is not None and found <= now:
            return _last_from(schedule, found, now)
    return _last_from(schedule, first, now)


def _last_from(
    schedule: cron.Schedule, found: datetime.datetime, now: datetime.datetime
) -> datetime.datetime:
    while (later := schedule.after(found)) is not None and later <= now:
        found = later
    return found


def _before(moment: datetime.datetime, span: datetime.timedelta) -> datetime.datetime:
    try:
        return moment - span
    except OverflowError:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)


def parse(stamp: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(stamp)


# --- deciding -----------------------------------------------------------------------------------


class Start(Struct, frozen=True):
    """Make the Job of `time`, after deleting the active ones where `replace` says so."""

    time: datetime.datetime
    replace: bool


class Decision(Struct, frozen=True):
    start: Start | None = None
    events: list[Told] = field(default_factory=list)
    wake: datetime.datetime | None = None
    """Wall time at which the next Job is due."""


def decide(
    cron_job: batch.CronJob,
    active: Sequence[batch.ActiveJob],
    now: datetime.datetime,
    floor: datetime.datetime,
) -> Decision:
    """`floor`: as `since`, or in its place while the clock has lost its time."""
    spec = cron_job.spec
    if cron_job.metadata.deletion_timestamp or spec.suspend:
        return Decision()
    try:
        zone = cron.location(spec.time_zone) if spec.time_zone else datetime.UTC
    except cron.ScheduleError as error:
        why = f'invalid timeZone: "{spec.time_zone}": {error}'
        return Decision(events=[Told(WARNING, "UnknownTimeZone", why)])
    try:
        schedule = cron.parse(spec.schedule, zone)
    except cron.ScheduleError as error:
        why = f'unparseable schedule: "{spec.schedule}" : {error}'
        return Decision(events=[Told(WARNING, "UnparseableSchedule", why)])
    found = due(schedule, floor, now, spec.starting_deadline_seconds)
    if found.run is None:
        return Decision(wake=found.next)
    events = [Told(WARNING, "TooManyMissedTimes", _TOO_MANY)] if found.missed > _MANY else []
    name = job_name(cron_job.metadata.name, found.run)
    if any(each.name == name for each in active):
        return Decision(events=events, wake=found.next)
    if spec.concurrency_policy == "Forbid" and active:
        events.append(Told(NORMAL, "JobAlreadyActive", _ACTIVE))
        return Decision(events=events, wake=found.next)
    replace = spec.concurrency_policy == "Replace"
    return Decision(Start(found.run, replace), events, found.next)


_TOO_MANY = (
    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
)
_ACTIVE = "Not starting job because prior execution is running and concurrency policy is Forbid"


def job_name(name: str, time: datetime.datetime) -> str:
    return f"{name}-{int(time.timestamp()) // 60}"


def new_job(cron_job: Object, time: datetime.datetime, ref: Object) -> Object:
    """The Job due at `time`."""
    spec, meta = cron_job["spec"], cron_job["metadata"]
    template = spec["jobTemplate"]
    base = template.get("metadata") or {}
    zone = cron.location(spec["timeZone"]) if spec.get("timeZone") else datetime.UTC
    annotations = {**(base.get("annotations") or {}), SCHEDULED: _rfc3339(time.astimezone(zone))}
    made: Object = {
        "name": job_name(meta["name"], time),
        "namespace": meta["namespace"],
        "annotations": annotations,
        "ownerReferences": [ref],
    }
    if base.get("labels"):
        made["labels"] = dict(base["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": template["spec"]}


def _rfc3339(time: datetime.datetime) -> str:
    shown = time.isoformat(timespec="seconds")
    return shown.removesuffix("+00:00") + "Z" if shown.endswith("+00:00") else shown


# --- its Jobs -----------------------------------------------------------------------------------


class Tidied(Struct, frozen=True):
    active: list[Object]
    """References as the status has them."""
    last_successful: str
    events: list[Told]
    delete: list[batch.Job]
    """Finished ones beyond the history limits."""


def tidy(cron_job: batch.CronJob, listed: Sequence[Object], jobs: Sequence[batch.Job]) -> Tidied:
    """`listed`: status.active as stored; `jobs`: all that it owns."""
    by_uid = {job.metadata.uid: job for job in jobs}
    events: list[Told] = []
    active: list[Object] = []
    for ref in listed:
        job = by_uid.get(ref.get("uid", ""))
        if job is None:
            events.append(Told(NORMAL, "MissingJob", f"Active job went missing: {ref.get('name')}"))
        elif job.finished:
            why = f"Saw completed job: {job.metadata.name}, condition: {job.finished}"
            events.append(Told(NORMAL, "SawCompletedJob", why))
        else:
            active.append(ref)
    known = {ref.get("uid") for ref in listed}
    for job in jobs:
        if job.metadata.uid in known or job.finished:
            continue
        if SCHEDULED in job.metadata.annotations:
            # Made just before the process was killed.
            active.append(reference(job.metadata.name, job.metadata.namespace, job.metadata.uid))
        else:
            why = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
            events.append(Told(WARNING, "UnexpectedJob", why))
    return Tidied(active, _last_successful(cron_job, jobs), events, _history(cron_job, jobs))


def reference(name: str, namespace: str, uid: str) -> Object:
    return {
        "kind": "Job",
        "namespace": namespace,
        "name": name,
        "uid": uid,
        "apiVersion": "batch/v1",
    }


def _last_successful(cron_job: batch.CronJob, jobs: Sequence[batch.Job]) -> str:
    times = [job.status.completion_time for job in jobs if job.finished == "Complete"]
    return max([cron_job.status.last_successful_time, *times])


def _history(cron_job: batch.CronJob, jobs: Sequence[batch.Job]) -> list[batch.Job]:
    found: list[batch.Job] = []
    spec = cron_job.spec
    for state, limit in (
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ):
        kept = [
            job for job in jobs if job.finished == state and not job.metadata.deletion_timestamp
        ]
        if limit is not None and len(kept) > limit:
            kept.sort(key=lambda job: (job.status.start_time, job.metadata.name))
            found += kept[: len(kept) - limit]
    return found
