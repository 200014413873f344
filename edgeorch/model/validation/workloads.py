"""Rules of Deployments and ReplicaSets (pkg/apis/apps/validation)."""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors, selectors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, pods
from edgeorch.model.validation.meta import Causes, invalid_each, non_negative

_STRATEGIES = ("Recreate", "RollingUpdate")


def deployment(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + deployment_spec(obj.get("spec") or {})


def deployment_spec(spec: Object) -> Causes:
    found = non_negative("spec.replicas", spec.get("replicas"))
    found += _selector_and_template(spec)
    found += _strategy("spec.strategy", spec.get("strategy") or {})
    ready = spec.get("minReadySeconds") or 0
    found += non_negative("spec.minReadySeconds", ready)
    found += non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        path = "spec.progressDeadlineSeconds"
        found += non_negative(path, deadline)
        if deadline <= ready:
            why = "must be greater than minReadySeconds"
            found.append(errors.invalid_value(path, deadline, why))
    return found


def replica_set(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + replica_set_spec(obj.get("spec") or {})


def replica_set_spec(spec: Object) -> Causes:
    found = non_negative("spec.replicas", spec.get("replicas"))
    found += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    return found + _selector_and_template(spec)


def _selector_and_template(spec: Object) -> Causes:
    found: Causes = []
    selector = spec.get("selector")
    if selector is None:
        found.append(errors.required("spec.selector"))
    else:
        found += meta.label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            why = "empty selector is invalid for deployment"
            found.append(errors.invalid_value("spec.selector", {}, why))
    if selector is not None and meta.label_selector("spec.selector", selector):
        shown = meta.shown_selector(selector)
        found.append(errors.invalid_value("spec.selector", shown, "invalid label selector"))
        return found
    return found + _template("spec.template", spec.get("template") or {}, selector)


def _template(path: str, template: Object, selector: Object | None) -> Causes:
    found: Causes = []
    labels = (template.get("metadata") or {}).get("labels") or {}
    # No selector selects nothing, so that its absence is told twice, as Kubernetes does.
    chosen = selectors.label_selector(selector)
    if not chosen(labels):
        why = "`selector` does not match template `labels`"
        shown = dict(sorted(labels.items())) or None
        found.append(errors.invalid_value(f"{path}.metadata.labels", shown, why))
    found += pods.template(path, template)
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        at = f"{path}.spec.restartPolicy"
        found.append(errors.not_supported(at, spec.get("restartPolicy") or "", ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        why = "activeDeadlineSeconds in ReplicaSet is not Supported"
        found.append(errors.forbidden_field(f"{path}.spec.activeDeadlineSeconds", why))
    return found


def _strategy(path: str, strategy: Object) -> Causes:
    rolling = strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            if rolling is None:
                return []
            why = "may not be specified when strategy `type` is 'Recreate'"
            return [errors.forbidden_field(f"{path}.rollingUpdate", why)]
        case "RollingUpdate":
            if rolling is None:
                why = "this should be defaulted and never be nil"
                return [errors.required(f"{path}.rollingUpdate", why)]
            return _rolling_update(f"{path}.rollingUpdate", rolling)
        case other:
            shown = {"Type": other or "", "RollingUpdate": rolling}
            return [errors.not_supported(path, shown, _STRATEGIES)]


def _rolling_update(path: str, rolling: Object) -> Causes:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = _int_or_percent(f"{path}.maxUnavailable", unavailable)
    found += _int_or_percent(f"{path}.maxSurge", surge)
    if _amount(unavailable) == 0 and _amount(surge) == 0:
        why = "may not be 0 when `maxSurge` is 0"
        found.append(errors.invalid_value(f"{path}.maxUnavailable", unavailable, why))
    if isinstance(unavailable, str) and _amount(unavailable) > 100 and "%" in unavailable:
        why = "must not be greater than 100%"
        found.append(errors.invalid_value(f"{path}.maxUnavailable", unavailable, why))
    return found


def _int_or_percent(path: str, value: Any) -> Causes:
    if isinstance(value, str):
        return invalid_each(path, value, formats.percent(value))
    return non_negative(path, value)


def _amount(value: Any) -> int:
    """The number in an int or percentage; text that is neither counts as 0, as Go's Atoi does."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if digits.isascii() and digits.isdigit() else 0
    return int(value or 0)


def status_counts(status: Object, fields: tuple[str, ...], bounded: tuple[str, ...]) -> Causes:
    """Counts are not negative, and parts not larger than the whole."""
    found: Causes = []
    for field in fields:
        found += non_negative(f"status.{field}", status.get(field))
    whole, ready = status.get("replicas") or 0, status.get("readyReplicas") or 0
    for field in bounded:
        count = status.get(field) or 0
        if count > whole:
            why = "cannot be greater than status.replicas"
            found.append(errors.invalid_value(f"status.{field}", count, why))
    available = status.get("availableReplicas") or 0
    if available > ready:
        why = "cannot be greater than readyReplicas"
        found.append(errors.invalid_value("status.availableReplicas", available, why))
    return found
