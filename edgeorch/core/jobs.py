"""What a Job does next: whom it counts, lets go, gives up and makes, and what its status says.

After pkg/controller/job. One plan is for one observation and is carried out in the order of its
fields: the status first (on the medium when it counts something), then pods. Counting is
exactly-once: a finished pod's uid is put in the status, then its finalizer goes, then the uid
becomes a number; a Job of indexes needs no uids, because an index counts once anyhow. Times are
seconds; `stamp` is only shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from edgeorch.core import job_pods
from edgeorch.core.job_pods import JobPod, NewPod
from edgeorch.lib import backoff, intervals
from edgeorch.model import batch
from edgeorch.model.kinds import Object

BURST = 500
BACK_OFF = backoff.Policy(initial=10.0, factor=2.0, cap=360.0)
NORMAL, WARNING = "Normal", "Warning"
COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
MET, TARGET = "SuccessCriteriaMet", "FailureTarget"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}
_COUNTED = (
    "startTime", "completionTime", "succeeded", "failed", "uncountedTerminatedPods",
    "completedIndexes", "failedIndexes", "conditions",
)  # fmt: skip


class Told(Struct, frozen=True):
    """An event."""

    kind: str
    reason: str
    message: str


class Plan(Struct, frozen=True):
    status: Object
    durable: bool = False
    """Something is counted that leaves no other trace."""
    delete: list[JobPod] = field(default_factory=list)
    give_up: list[JobPod] = field(default_factory=list)
    """To be deleted without being counted."""
    release: list[JobPod] = field(default_factory=list)
    """Counted in `status`: the finalizer can go."""
    create: list[NewPod] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    wake: float | None = None
    """Seconds after which time alone changes something."""


class _End(Struct, frozen=True):
    """How the Job is going to end."""

    success: bool
    reason: str
    message: str


def plan(
    job: batch.Job,
    pods: Sequence[JobPod],
    old: Object,
    *,
    stamp: str,
    active_for: float = 0.0,
    ended: Mapping[str, float] | None = None,
) -> Plan:
    """`old`: the status as stored. `active_for`: since its startTime. `ended`: for the uid of each
    pod that is over or going, since when.
    """
    if job.finished:
        return Plan(old, release=[pod for pod in pods if pod.tracked])
    planner = _Planner(job, pods, old, stamp, ended or {})
    return planner.plan(active_for)


class _Planner:
    def __init__(
        self,
        job: batch.Job,
        pods: Sequence[JobPod],
        old: Object,
        stamp: str,
        ended: Mapping[str, float],
    ) -> None:
        self.job, self.spec, self.pods = job, job.spec, pods
        self.stamp, self.ended, self.old = stamp, ended, old
        self.conditions: list[Object] = [dict(c) for c in old.get("conditions") or []]
        self.start_time = job.status.start_time
        self.completion_time = job.status.completion_time
        self.events: list[Told] = []
        self.wake: float | None = None
        self.delete: list[JobPod] = []
        self.give_up: list[JobPod] = []
        self.create: list[NewPod] = []
        self.active = [pod for pod in pods if pod.active]
        self.terminating = [pod for pod in pods if pod.terminating]
        self._settle()
        self._look()

    # --- counting -------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Uids whose pods have been let go become numbers."""
        status, held = self.job.status, {pod.uid for pod in self.pods if pod.tracked}
        waiting = status.uncounted_terminated_pods
        self.uncounted_succeeded = [uid for uid in waiting.succeeded if uid in held]
        self.uncounted_failed = [uid for uid in waiting.failed if uid in held]
        self.succeeded = status.succeeded + len(waiting.succeeded) - len(self.uncounted_succeeded)
        self.failed = status.failed + len(waiting.failed) - len(self.uncounted_failed)

    def _look(self) -> None:
        """What has ended since, and what that makes in all."""
        known = {*self.uncounted_succeeded, *self.uncounted_failed}
        fresh = [pod for pod in self.pods if pod.tracked and pod.uid not in known]
        self.fresh_succeeded = [pod for pod in fresh if pod.succeeded and self._valid(pod)]
        self.fresh_failed = [
            pod for pod in fresh if job_pods.failed(self.spec, pod) and self._valid(pod)
        ]
        counted = sum(job_pods.match(self.spec, pod).counts for pod in self.fresh_failed)
        self.all_failed = self.failed + len(self.uncounted_failed) + counted
        self.completed: set[int] = set()
        self.failed_indexes: set[int] = set()
        self.delayed: dict[int, JobPod] = {}
        if self.spec.indexed:
            self.completed = self._indexes(self.job.status.completed_indexes)
            self.completed |= {pod.index for pod in self.fresh_succeeded if pod.index is not None}
            self.all_succeeded = self.succeeded = len(self.completed)
            if self.spec.backoff_limit_per_index is not None:
                self._look_by_index()
        else:
            fresh_count = len(self.fresh_succeeded)
            self.all_succeeded = self.succeeded + len(self.uncounted_succeeded) + fresh_count

    def _valid(self, pod: JobPod) -> bool:
        if not self.spec.indexed:
            return True
        return pod.index is not None and pod.index < self._completions

    @property
    def _completions(self) -> int:
        return self.spec.completions or 0

    def _indexes(self, text: str | None) -> set[int]:
        """Of a Job that has been made smaller, only those it still has."""
        return {index for index in intervals.parse(text or "") if index < self._completions}

    def _look_by_index(self) -> None:
        self.failed_indexes = self._indexes(self.job.status.failed_indexes)
        self.failed_indexes |= {
            pod.index
            for pod in self.pods
            if pod.index is not None and self._valid(pod) and self._fails_index(pod)
        }
        self.failed_indexes -= self.completed
        running = {pod.index for pod in self.active}
        for pod in self.fresh_failed:
            index = pod.index
            if index is None or index in self.completed | self.failed_indexes | running:
                continue
            latest = self.delayed.get(index)
            if latest is None or pod.attempts > latest.attempts:
                self.delayed[index] = pod

    def _fails_index(self, pod: JobPod) -> bool:
        limit = self.spec.backoff_limit_per_index
        if limit is None or not job_pods.failed(self.spec, pod):
            return False
        said = job_pods.match(self.spec, pod)
        return said.action == "FailIndex" or (said.counts and pod.failures >= limit)

    # --- deciding -------------------------------------------------------------------------------

    def plan(self, active_for: float) -> Plan:
        if not self.start_time and not self.spec.suspend:
            self.start_time = self.stamp
        if not self.job.metadata.deletion_timestamp:
            end = self._end(active_for)
            if end is not None:
                self._finish(end)
                return self._result(end)
            self._manage()
        return self._result(None)

    def _end(self, active_for: float) -> _End | None:
        for kind in (MET, TARGET):
            held = self.job.condition(kind)
            if held is not None:
                return _End(kind == MET, held.reason, held.message)
        return self._failure(active_for) or self._success()

    def _failure(self, active_for: float) -> _End | None:
        spec = self.spec
        for pod in self.pods:
            if spec.pod_failure_policy is not None and job_pods.failed(spec, pod):
                said = job_pods.match(spec, pod)
                if said.action == "FailJob":
                    return _End(False, "PodFailurePolicy", said.message)
        if self.all_failed > spec.backoff_limit or self._restarted_too_often():
            why = "Job has reached the specified backoff limit"
            return _End(False, "BackoffLimitExceeded", why)
        deadline = spec.active_deadline_seconds
        if deadline is not None and not spec.suspend:
            # What starts or goes on just now has all of its time before it.
            starts = not self.job.status.start_time or self.job.condition(SUSPENDED) is not None
            left = deadline - (0.0 if starts else active_for)
            if left <= 0:
                why = "Job was active longer than specified deadline"
                return _End(False, "DeadlineExceeded", why)
            self._wake(left)
        return self._failure_by_index()

    def _failure_by_index(self) -> _End | None:
        total, most = len(self.failed_indexes), self.spec.max_failed_indexes
        if most is not None and total > most:
            why = "Job has exceeded the specified maximal number of failed indexes"
            return _End(False, "MaxFailedIndexesExceeded", why)
        if total and total + len(self.completed) >= self._completions:
            return _End(False, "FailedIndexes", "Job has failed indexes")
        return None

    def _restarted_too_often(self) -> bool:
        template = self.spec.template.get("spec") or {}
        if template.get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(p.restarts for p in self.pods if p.status.phase in ("Running", "Pending"))
        return restarts >= max(1, self.spec.backoff_limit)

    def _success(self) -> _End | None:
        rules = self.spec.success_policy.rules if self.spec.success_policy else []
        for number, rule in enumerate(rules):
            if self.completed and self._fits(rule):
                return _End(True, "SuccessPolicy", f"Matched rules at index {number}")
        if self.spec.completions is None:
            done = self.all_succeeded > 0 and not self.active
        else:
            done = self.all_succeeded >= self.spec.completions
        if not done:
            return None
        why = "Reached expected number of succeeded pods"
        return _End(True, "CompletionsReached", why)

    def _fits(self, rule: batch.SuccessRule) -> bool:
        if rule.succeeded_indexes is None:
            return rule.succeeded_count is not None and len(self.completed) >= rule.succeeded_count
        wanted = self._indexes(rule.succeeded_indexes)
        have = len(wanted & self.completed)
        needed = len(wanted) if rule.succeeded_count is None else rule.succeeded_count
        return have > 0 and have >= needed

    def _finish(self, end: _End) -> None:
        self.delayed = {}
        kind = MET if end.success else TARGET
        self._condition(kind, "True", end.reason, end.message)
        if end.success:
            self.give_up += self.active
        else:
            self.delete += self.active
            # Whatever is still running has failed with the Job.
            known = {*self.uncounted_failed, *(pod.uid for pod in self.fresh_failed)}
            for pod in self.pods:
                open_ = pod.tracked and not pod.terminal and pod.uid not in known
                if open_ and self._valid(pod):
                    self.fresh_failed.append(pod)
        if self.active or self.terminating or any(pod.tracked for pod in self.pods):
            return
        self._condition(COMPLETE if end.success else FAILED, "True", end.reason, end.message)
        if not end.success:
            self.events.append(Told(WARNING, end.reason, end.message))
            return
        self.completion_time = self.stamp
        if self.spec.completions is not None and self.succeeded > self.spec.completions:
            why = "Too many succeeded pods running after completion count reached"
            self.events.append(Told(WARNING, "TooManySucceededPods", why))
        self.events.append(Told(NORMAL, "Completed", "Job completed"))

    def _manage(self) -> None:
        if self.spec.suspend:
            self.give_up += self.active
            if self._condition(SUSPENDED, "True", "JobSuspended", "Job suspended"):
                self.events.append(Told(NORMAL, "Suspended", "Job suspended"))
            return
        if self._condition(SUSPENDED, "False", "JobResumed", "Job resumed"):
            self.events.append(Told(NORMAL, "Resumed", "Job resumed"))
            # Time spent suspended is no time of work.
            self.start_time = self.stamp
        wanted = self._wanted()
        self.give_up += self._surplus(len(self.active) - wanted)[:BURST]
        held_up = len(self.terminating) if self.spec.replaces_failed_only else 0
        missing = wanted - held_up - len(self.active)
        if missing > 0 and not self.give_up:
            self.create += self._new(min(missing, BURST))

    def _wanted(self) -> int:
        """How many pods should be active."""
        if self.spec.completions is None:
            return len(self.active) if self.all_succeeded else self.spec.parallelism
        left = self.spec.completions - self.all_succeeded - len(self.failed_indexes)
        return max(0, min(self.spec.parallelism, left))

    def _surplus(self, count: int) -> list[JobPod]:
        """Active pods to give up: those of no or another's index, then the least advanced."""
        ranked = sorted(self.active, key=_rank)
        found: list[JobPod] = []
        if self.spec.indexed:
            seen = set(self.completed)
            for pod in reversed(ranked):
                if not self._valid(pod) or pod.index in seen:
                    found.append(pod)
                elif pod.index is not None:
                    seen.add(pod.index)
        rest = [pod for pod in ranked if pod not in found]
        return [*found, *rest[: max(0, count - len(found))]]

    def _new(self, count: int) -> list[NewPod]:
        if self.spec.backoff_limit_per_index is not None:
            return self._new_by_index(count)
        wait = self._back_off()
        if wait > 0:
            self._wake(wait)
            return []
        if not self.spec.indexed:
            return [NewPod()] * count
        return [NewPod(index) for index in self._pending()[:count]]

    def _new_by_index(self, count: int) -> list[NewPod]:
        found: list[NewPod] = []
        for index in self._pending():
            if len(found) == count:
                break
            last = self.delayed.get(index)
            if last is None:
                found.append(NewPod(index, failures=0))
                continue
            wait = BACK_OFF.delay(last.attempts) - self.ended.get(last.uid, 0.0)
            if wait > 0:
                self._wake(wait)
            elif job_pods.match(self.spec, last).counts:
                found.append(NewPod(index, last.failures + 1, last.ignored_failures))
            else:
                found.append(NewPod(index, last.failures, last.ignored_failures + 1))
        return found

    def _pending(self) -> list[int]:
        taken: set[int | None] = {*self.completed, *self.failed_indexes}
        taken |= {pod.index for pod in self.active}
        if self.spec.replaces_failed_only:
            taken |= {pod.index for pod in self.terminating}
        return [index for index in range(self._completions) if index not in taken]

    def _back_off(self) -> float:
        """Seconds until the next pod may be made: longer with each failure since a success."""
        since = min(
            (self.ended.get(pod.uid, 0.0) for pod in self.pods if pod.succeeded), default=None
        )
        failures = [
            self.ended.get(pod.uid, 0.0)
            for pod in self.pods
            if job_pods.failed(self.spec, pod) and (pod.tracked or not pod.leaving)
        ]
        if since is not None:
            failures = [ago for ago in failures if ago < since]
        if not failures:
            return 0.0
        return BACK_OFF.delay(len(failures) - 1) - min(failures)

    def _wake(self, seconds: float) -> None:
        self.wake = seconds if self.wake is None else min(self.wake, seconds)

    # --- telling --------------------------------------------------------------------------------

    def _condition(self, kind: str, status: str, reason: str, message: str) -> bool:
        """Whether it changed; a condition that never was is not told to be false."""
        told = {
            "type": kind,
            "status": status,
            "lastProbeTime": self.stamp,
            "lastTransitionTime": self.stamp,
            "reason": reason,
            "message": message,
        }
        for at, held in enumerate(self.conditions):
            if held["type"] == kind:
                if held["status"] == status and held.get("reason") == reason:
                    return False
                self.conditions[at] = told
                return True
        if status == "True":
            self.conditions.append(told)
        return status == "True"

    def _result(self, end: _End | None) -> Plan:
        """What ended is counted, but for pods that an index still needs to know its failures."""
        leaving = self.job.metadata.deletion_timestamp is not None
        release = [pod for pod in self.pods if pod.tracked and self._countable(pod, end, leaving)]
        letting = {pod.uid for pod in release}
        failed = [
            pod.uid
            for pod in self.fresh_failed
            if pod.uid in letting and (pod.active or job_pods.match(self.spec, pod).counts)
        ]
        succeeded = [pod.uid for pod in self.fresh_succeeded if not self.spec.indexed]
        status = self._status(
            [*self.uncounted_succeeded, *succeeded], [*self.uncounted_failed, *failed]
        )
        return Plan(
            status,
            any(status.get(name) != self.old.get(name) for name in _COUNTED),
            self.delete,
            self.give_up,
            [pod for pod in release if pod not in self.give_up],
            self.create,
            self.events,
            self.wake,
        )

    def _countable(self, pod: JobPod, end: _End | None, leaving: bool) -> bool:
        if end is not None or leaving or pod.succeeded:
            return True
        if not job_pods.failed(self.spec, pod):
            return False
        return pod.index is None or self.delayed.get(pod.index) is not pod

    def _status(self, succeeded: list[str], failed: list[str]) -> Object:
        gone = {pod.uid for pod in (*self.delete, *self.give_up)}
        active = [pod for pod in self.active if pod.uid not in gone]
        status = dict(self.old)
        uncounted = {"succeeded": succeeded, "failed": failed}
        status["uncountedTerminatedPods"] = {k: v for k, v in uncounted.items() if v}
        status["ready"] = sum(pod.ready for pod in active)
        status["terminating"] = len(self.terminating) + len(gone)
        optional = {
            "active": len(active),
            "succeeded": self.succeeded,
            "failed": self.failed,
            "startTime": self.start_time,
            "completionTime": self.completion_time,
            "completedIndexes": intervals.render(self.completed),
            "conditions": self.conditions,
        }
        for name, value in optional.items():
            status.pop(name, None)
            if value:
                status[name] = value
        if self.spec.backoff_limit_per_index is not None:
            status["failedIndexes"] = intervals.render(self.failed_indexes)
        return status


def _rank(pod: JobPod) -> tuple[bool, int, bool, str, str]:
    """First to go first: unassigned, pending, unready; of equals the name decides."""
    phase = _PHASES.get(pod.status.phase, 1)
    meta = pod.metadata
    return bool(pod.spec.node_name), phase, pod.ready, meta.creation_timestamp, meta.name
