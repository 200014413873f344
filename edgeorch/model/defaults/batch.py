"""Defaults of Jobs and CronJobs (pkg/apis/batch/v1/defaults.go)."""

from __future__ import annotations

from edgeorch.model.defaults import pods
from edgeorch.model.kinds import Object

_MAX_INT32 = 2**31 - 1


def job(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    template = spec["template"] = spec.get("template") or {}
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    defaults = {
        "parallelism": 1,
        "backoffLimit": _MAX_INT32 if spec.get("backoffLimitPerIndex") is not None else 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
    }
    for field, value in defaults.items():
        if spec.get(field) is None:
            spec[field] = value
    labels = (template.get("metadata") or {}).get("labels")
    if labels and not (obj.get("metadata") or {}).get("labels"):
        obj["metadata"] = {**(obj.get("metadata") or {}), "labels": dict(labels)}
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or []:
        for pattern in rule.get("onPodConditions") or []:
            if not pattern.get("status"):
                pattern["status"] = "True"
    pods.template(template)


def cron_job(obj: Object) -> None:
    """The Job inside gets its own defaults when it is made."""
    spec = obj["spec"] = obj.get("spec") or {}
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    for field, value in (
        ("suspend", False),
        ("successfulJobsHistoryLimit", 3),
        ("failedJobsHistoryLimit", 1),
    ):
        if spec.get(field) is None:
            spec[field] = value
    job_template = spec["jobTemplate"] = spec.get("jobTemplate") or {}
    inner = job_template["spec"] = job_template.get("spec") or {}
    inner["template"] = inner.get("template") or {}
    pods.template(inner["template"])
