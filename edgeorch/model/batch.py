"""Typed views of Jobs and CronJobs. What is said in model.views of views holds here too."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from edgeorch.model import views
from edgeorch.model.views import LabelSelector, Meta, View

# --- Jobs ---------------------------------------------------------------------------------------


class OnExitCodes(View, frozen=True, kw_only=True):
    container_name: str | None = None
    operator: str = ""
    values: list[int] = []


class OnPodCondition(View, frozen=True, kw_only=True):
    type: str = ""
    status: str = "True"


class FailureRule(View, frozen=True, kw_only=True):
    action: str = ""
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: list[OnPodCondition] = []


class PodFailurePolicy(View, frozen=True, kw_only=True):
    rules: list[FailureRule] = []


class SuccessRule(View, frozen=True, kw_only=True):
    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(View, frozen=True, kw_only=True):
    rules: list[SuccessRule] = []


class JobSpec(View, frozen=True, kw_only=True):
    template: dict[str, Any] = {}
    selector: LabelSelector = LabelSelector()
    manual_selector: bool = False
    parallelism: int = 1
    completions: int | None = None
    completion_mode: str = "NonIndexed"
    active_deadline_seconds: int | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    suspend: bool = False
    ttl_seconds_after_finished: int | None = None
    pod_replacement_policy: str = ""
    managed_by: str = ""

    @property
    def indexed(self) -> bool:
        return self.completion_mode == "Indexed"

    @property
    def replaces_failed_only(self) -> bool:
        """A pod on its way out is neither replaced nor failed before it is over."""
        return self.pod_replacement_policy == "Failed" or self.pod_failure_policy is not None


class Uncounted(View, frozen=True, kw_only=True):
    succeeded: list[str] = []
    failed: list[str] = []


class JobStatus(View, frozen=True, kw_only=True):
    active: int = 0
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: str = ""
    completion_time: str = ""
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: Uncounted = Uncounted()
    conditions: list[views.Condition] = []


class Job(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    def condition(self, kind: str) -> views.Condition | None:
        """The condition of that type, if it is true."""
        held = (c for c in self.status.conditions if c.type == kind and c.status == "True")
        return next(held, None)

    @property
    def finished(self) -> str:
        """Complete or Failed once nothing more will come of it, "" before."""
        return next((kind for kind in ("Complete", "Failed") if self.condition(kind)), "")


# --- CronJobs -----------------------------------------------------------------------------------


class JobTemplate(View, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    spec: JobSpec = JobSpec()


class CronJobSpec(View, frozen=True, kw_only=True):
    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None


class ActiveJob(View, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""


class CronJobStatus(View, frozen=True, kw_only=True):
    active: list[ActiveJob] = []
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
