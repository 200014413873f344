"""The tables of Jobs and CronJobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from edgeorch.model import selectors
from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age, human_duration, since
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

_WIDE = (
    wide("Containers", "Names of the containers in the template."),
    wide("Images", "Images of the containers in the template."),
    wide("Selector", "Which pods belong to it."),
)

JOB = (
    NAME,
    Column("Status", "How far the job is."),
    Column("Completions", "Pods that have succeeded, of all that should."),
    Column("Duration", "Time from start to completion, or till now."),
    AGE,
    *_WIDE,
)

CRON_JOB = (
    NAME,
    Column("Schedule", "When jobs are made, in cron format."),
    Column("Timezone", "Where the schedule is read."),
    Column("Suspend", "Whether no more jobs are made."),
    Column("Active", "Jobs that are running.", type="integer"),
    Column("Last Schedule", "Time since the last job was due."),
    AGE,
    *_WIDE,
)

_LATER_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        (obj.get("metadata") or {}).get("name", ""),
        _state(obj),
        _completions(spec, status),
        _duration(status, now),
        age(obj, now),
        *_template(spec),
    ]


def _state(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or []
    held = {each.get("type") for each in conditions if each.get("status") == "True"}
    for state in ("Complete", "Failed"):
        if state in held:
            return state
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    return next((state for state in _LATER_STATES if state in held), "Running")


def _completions(spec: Object, status: Object) -> str:
    succeeded, completions = status.get("succeeded") or 0, spec.get("completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(status: Object, now: datetime) -> str:
    started, completed = status.get("startTime"), status.get("completionTime")
    if not started:
        return ""
    end = datetime.fromisoformat(completed) if completed else now
    # A clock that was set back meanwhile would have it take less than no time.
    return human_duration(max(end - datetime.fromisoformat(started), timedelta()))


def cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    suspend, last = spec.get("suspend"), status.get("lastScheduleTime")
    return [
        (obj.get("metadata") or {}).get("name", ""),
        spec.get("schedule") or "",
        spec["timeZone"] if spec.get("timeZone") is not None else "<none>",
        "<unset>" if suspend is None else str(bool(suspend)),
        len(status.get("active") or []),
        since(last, now) if last else "<none>",
        age(obj, now),
        *_template((spec.get("jobTemplate") or {}).get("spec") or {}),
    ]


def _template(spec: Object) -> list[str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        selectors.format_selector(spec.get("selector")),
    ]
