"""Rules of Jobs and CronJobs (pkg/apis/batch/validation); policies are in job_policies."""

from __future__ import annotations

from typing import Any

from edgeorch.lib import cron
from edgeorch.model import errors, selectors
from edgeorch.model.kinds import Object
from edgeorch.model.lifecycle import batch as identity
from edgeorch.model.validation import formats, job_policies, meta, pods
from edgeorch.model.validation.meta import Causes, immutable, non_negative

INDEXED, NON_INDEXED = "Indexed", "NonIndexed"
_MAX_PARALLELISM = 100_000
_CRON_NAME = 63 - 11
"""A Job is named after its CronJob, a dash and ten digits."""
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_WHILE_SUSPENDED = ("nodeSelector", "tolerations", "schedulingGates", "affinity")


def job(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    found = meta.validate(obj, True, meta.subdomain_name)
    found += _generated_selector(obj, spec)
    found += _job_spec_and_selector(spec)
    completions = spec.get("completions")
    name = (obj.get("metadata") or {}).get("name") or ""
    if spec.get("completionMode") == INDEXED and completions:
        last = f"{name}-{completions - 1}"
        if formats.dns1123_label(last):
            why = f"will not able to create pod with invalid DNS label: {last}"
            found.append(errors.invalid_value("metadata.name", name, why))
    return found


def _generated_selector(obj: Object, spec: Object) -> Causes:
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    meta_of = obj.get("metadata") or {}
    uid, name = meta_of.get("uid") or "", meta_of.get("name") or ""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    wanted = {
        identity.LEGACY_UID_LABEL: uid,
        identity.UID_LABEL: uid,
        identity.LEGACY_NAME_LABEL: name,
        identity.NAME_LABEL: name,
    }
    found: Causes = []
    for key, value in wanted.items():
        path, why = f"spec.template.metadata.labels[{key}]", f"must be '{value}'"
        if key not in labels:
            found.append(errors.required(path, why))
        elif labels[key] != value:
            found.append(errors.invalid_value(path, dict(sorted(labels.items())), why))
    if not meta.label_selector("spec.selector", spec["selector"]):
        matches = selectors.label_selector(spec["selector"])
        if not matches(wanted):
            shown = meta.shown_selector(spec["selector"])
            why = "`selector` not auto-generated"
            found.append(errors.invalid_value("spec.selector", shown, why))
    return found


def _job_spec_and_selector(spec: Object) -> Causes:
    found = job_spec("spec", spec)
    selector = spec.get("selector")
    if selector is None:
        return [*found, errors.required("spec.selector")]
    wrong = meta.label_selector("spec.selector", selector)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not wrong and not selectors.label_selector(selector)(labels):
        why = "`selector` does not match template `labels`"
        shown = dict(sorted(labels.items())) or None
        found.append(errors.invalid_value("spec.template.metadata.labels", shown, why))
    return found + wrong


def job_spec(path: str, spec: Object) -> Causes:
    found: Causes = []
    for field in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        found += non_negative(f"{path}.{field}", spec.get(field))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        why = "when maxFailedIndexes is specified"
        found.append(errors.required(f"{path}.backoffLimitPerIndex", why))
    found += _managed_by(f"{path}.managedBy", spec.get("managedBy"))
    found += _completion_mode(path, spec)
    found += job_policies.pod_failure(path, spec)
    found += job_policies.pod_replacement(f"{path}.podReplacementPolicy", spec)
    found += job_policies.success(path, spec)
    template = spec.get("template") or {}
    found += pods.template(f"{path}.template", template)
    return found + _restart_policy(f"{path}.template.spec.restartPolicy", template, spec)


def _restart_policy(path: str, template: Object, spec: Object) -> Causes:
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        return [errors.required(path, 'valid values: "OnFailure", "Never"')]
    if policy != "Never" and spec.get("podFailurePolicy") is not None:
        why = 'only "Never" is supported when podFailurePolicy is specified'
        return [errors.invalid_value(path, policy, why)]
    return []


def _managed_by(path: str, name: str | None) -> Causes:
    if name is None:
        return []
    domain, slash, _ = name.partition("/")
    if not slash or formats.dns1123_subdomain(domain):
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [errors.invalid_value(path, name, why)]
    if len(name.encode()) > 63:
        return [errors.too_long(path, 63)]
    return []


def _completion_mode(path: str, spec: Object) -> Causes:
    found: Causes = []
    mode, completions = spec.get("completionMode"), spec.get("completions")
    parallelism, most = spec.get("parallelism") or 0, spec.get("maxFailedIndexes")
    if mode is not None and mode not in (NON_INDEXED, INDEXED):
        supported = (INDEXED, NON_INDEXED)
        return [errors.not_supported(f"{path}.completionMode", mode, supported)]
    if mode != INDEXED:
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                why = "requires indexed completion mode"
                found.append(errors.invalid_value(f"{path}.{field}", spec[field], why))
        return found
    if completions is None:
        found.append(errors.required(f"{path}.completions", f"when completion mode is {INDEXED}"))
    if parallelism > _MAX_PARALLELISM:
        why = f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is {INDEXED}"
        found.append(errors.invalid_value(f"{path}.parallelism", parallelism, why))
    if most is not None and completions is not None and most > completions:
        why = "must be less than or equal to completions"
        found.append(errors.invalid_value(f"{path}.maxFailedIndexes", most, why))
    return found


# --- updates of Jobs ----------------------------------------------------------------------------


def job_update(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + _job_spec_and_selector(spec)
    found += _completions_kept(spec, before)
    found += immutable("spec.selector", spec.get("selector"), before.get("selector"))
    found += _template_kept(spec, before, old)
    for field in (
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        found += _same(f"spec.{field}", spec.get(field), before.get(field))
    return found


def _same(path: str, new: Any, old: Any) -> Causes:
    return [errors.invalid_value(path, new, meta.IMMUTABLE)] if new != old else []


def _completions_kept(spec: Object, before: Object) -> Causes:
    """An Indexed Job is made larger or smaller by completions and parallelism together."""
    path, new, old = "spec.completions", spec.get("completions"), before.get("completions")
    if new == old:
        return []
    if spec.get("completionMode") != INDEXED or new is None or old is None:
        return _same(path, new, old)
    if new != spec.get("parallelism"):
        why = "can only be modified in tandem with spec.parallelism"
        return [errors.invalid_value(path, new, why)]
    return []


def _template_kept(spec: Object, before: Object, old: Object) -> Causes:
    """A Job that has not started yet may still be steered to other nodes."""
    new, was = spec.get("template") or {}, before.get("template") or {}
    if before.get("suspend") and not (old.get("status") or {}).get("startTime"):
        steered = dict(new.get("spec") or {})
        earlier = was.get("spec") or {}
        for field in _WHILE_SUSPENDED:
            steered.pop(field, None)
            if field in earlier:
                steered[field] = earlier[field]
        new = {**was, "spec": steered}
    return _same("spec.template", spec.get("template"), was) if new != was else []


def job_status(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    status = new.get("status") or {}
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        found += non_negative(f"status.{field}", status.get(field))
    return found


# --- CronJobs -----------------------------------------------------------------------------------


def cron_job(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    found = meta.validate(obj, True, meta.subdomain_name)
    found += _cron_job_spec(spec, zone_in_schedule=False)
    name = (obj.get("metadata") or {}).get("name") or ""
    if len(name) > _CRON_NAME:
        why = f"must be no more than {_CRON_NAME} characters"
        found.append(errors.invalid_value("metadata.name", name, why))
    return found


def cron_job_update(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    # What was let in once may stay.
    had_zone = "TZ" in (before.get("schedule") or "")
    return meta.validate_update(new, old) + _cron_job_spec(spec, zone_in_schedule=had_zone)


def _cron_job_spec(spec: Object, *, zone_in_schedule: bool) -> Causes:
    found = _schedule("spec.schedule", spec, zone_in_schedule=zone_in_schedule)
    field = "startingDeadlineSeconds"
    found += non_negative(f"spec.{field}", spec.get(field))
    if spec.get("timeZone") is not None:
        found += _time_zone("spec.timeZone", spec["timeZone"])
    policy = spec.get("concurrencyPolicy")
    found += meta.one_of("spec.concurrencyPolicy", policy, _CONCURRENCY)
    found += _job_template("spec.jobTemplate.spec", (spec.get("jobTemplate") or {}).get("spec"))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += non_negative(f"spec.{field}", spec.get(field))
    return found


def _schedule(path: str, spec: Object, *, zone_in_schedule: bool) -> Causes:
    text = spec.get("schedule") or ""
    if not text:
        return [errors.required(path)]
    found: Causes = []
    try:
        cron.parse(text)
    except cron.ScheduleError as error:
        found.append(errors.invalid_value(path, text, str(error)))
    if "TZ" not in text:
        return found
    if spec.get("timeZone") is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        found.append(errors.invalid_value(path, text, why))
    elif not zone_in_schedule:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.append(errors.invalid_value(path, text, why))
    return found


def _time_zone(path: str, name: str) -> Causes:
    if not name:
        return [errors.invalid_value(path, name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [errors.invalid_value(path, name, why)]
    try:
        cron.location(name)
    except cron.ScheduleError as error:
        why = str(error)
        if not cron.has_zones():
            why += ": this device has no time zone database (install the package tzdata)"
        return [errors.invalid_value(path, name, why)]
    return []


def _job_template(path: str, spec: Object | None) -> Causes:
    spec = spec or {}
    found = job_spec(path, spec)
    if spec.get("selector") is not None:
        shown = meta.shown_selector(spec["selector"])
        why = "`selector` will be auto-generated"
        found.append(errors.invalid_value(f"{path}.selector", shown, why))
    if spec.get("manualSelector"):
        supported = ("nil", "false")
        found.append(errors.not_supported(f"{path}.manualSelector", True, supported))
    return found
