"""Rules of HorizontalPodAutoscalers, after pkg/apis/autoscaling/validation."""

from __future__ import annotations

from typing import Any

from edgeorch.lib import quantity
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, resources
from edgeorch.model.validation.meta import Causes, invalid_each, non_negative

_LONGEST_PERIOD, _LONGEST_WINDOW = 1800, 3600
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")
_POSITIVE = "must be greater than zero"


def autoscaler(obj: Object) -> Causes:
    return meta.validate(obj, True, meta.subdomain_name) + _spec(obj.get("spec") or {})


def autoscaler_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + _spec(new.get("spec") or {})


def autoscaler_status(new: Object, old: Object) -> Causes:
    status = new.get("status") or {}
    found = meta.validate_update(new, old)
    for name in ("currentReplicas", "desiredReplicas"):
        found += non_negative(f"status.{name}", status.get(name))
    return found


def _spec(spec: Object) -> Causes:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    found: Causes = []
    if least is not None and least < 1:
        why = "must be greater than or equal to 1"
        found.append(errors.invalid_value("spec.minReplicas", least, why))
    if most < 1:
        found.append(errors.invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        why = "must be greater than or equal to `minReplicas`"
        found.append(errors.invalid_value("spec.maxReplicas", most, why))
    found += _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    for index, metric in enumerate(spec.get("metrics") or []):
        found += _metric(f"spec.metrics[{index}]", metric)
    behavior = spec.get("behavior") or {}
    for name in ("scaleUp", "scaleDown"):
        if behavior.get(name) is not None:
            found += _rules(f"spec.behavior.{name}", behavior[name])
    return found


def _reference(path: str, ref: Object) -> Causes:
    found: Causes = []
    for name in ("kind", "name"):
        value = ref.get(name)
        if value:
            found += invalid_each(f"{path}.{name}", value, formats.path_segment(value))
        else:
            found.append(errors.required(f"{path}.{name}"))
    return found


def _metric(path: str, metric: Object) -> Causes:
    kind = metric.get("type") or ""
    found: Causes = []
    if not kind:
        found.append(errors.required(f"{path}.type", "must specify a metric source type"))
    if kind not in _SOURCES:
        found.append(errors.not_supported(f"{path}.type", kind, tuple(_SOURCES)))
    present = [name for name in _SOURCES.values() if metric.get(name) is not None]
    rules = {
        "object": _object,
        "external": _external,
        "pods": _pods,
        "resource": _resource,
        "containerResource": _container,
    }
    order = [name for name in rules if name in present]
    if order:
        found += rules[order[0]](f"{path}.{order[0]}", metric[order[0]])
    expected = _SOURCES.get(kind, "")
    if expected and expected not in present:
        why = "must populate information for the given metric source"
        found.append(errors.required(f"{path}.{expected}", why))
    if len(present) > 1:
        why = "must populate the given metric source only"
        others = sorted(name for name in present if name != expected)
        found += [errors.forbidden_field(f"{path}.{name}", why) for name in others]
    return found


def _resource(path: str, source: Object) -> Causes:
    found: Causes = []
    if not source.get("name"):
        found.append(errors.required(f"{path}.name", "must specify a resource name"))
    return found + _usage(f"{path}.target", source.get("target") or {})


def _container(path: str, source: Object) -> Causes:
    found: Causes = []
    if name := source.get("name"):
        found += resources.container_name(f"{path}.name", name)
    else:
        found.append(errors.required(f"{path}.name", "must specify a resource name"))
    if container := source.get("container"):
        at = f"{path}.container"
        found += invalid_each(at, container, formats.dns1123_label(container))
    else:
        found.append(errors.required(f"{path}.container", "must specify a container"))
    return found + _usage(f"{path}.target", source.get("target") or {})


def _usage(path: str, target: Object) -> Causes:
    found = _target(path, target)
    percent, amount = target.get("averageUtilization"), target.get("averageValue")
    if percent is None and amount is None:
        why = "must set either a target raw value or a target utilization"
        found.append(errors.required(f"{path}.averageUtilization", why))
    if percent is not None and amount is not None:
        why = "may not set both a target raw value and a target utilization"
        found.append(errors.forbidden_field(f"{path}.averageValue", why))
    return found


def _object(path: str, source: Object) -> Causes:
    found = _reference(f"{path}.describedObject", source.get("describedObject") or {})
    found += _identifier(f"{path}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    found += _target(f"{path}.target", target)
    if target.get("value") is None and target.get("averageValue") is None:
        why = "must set either a target value or averageValue"
        found.append(errors.required(f"{path}.target.averageValue", why))
    return found


def _external(path: str, source: Object) -> Causes:
    found = _identifier(f"{path}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    found += _target(f"{path}.target", target)
    total, average = target.get("value"), target.get("averageValue")
    if total is None and average is None:
        why = "must set either a target value for metric or a per-pod target"
        found.append(errors.required(f"{path}.target.averageValue", why))
    if total is not None and average is not None:
        why = "may not set both a target value for metric and a per-pod target"
        found.append(errors.forbidden_field(f"{path}.target.value", why))
    return found


def _pods(path: str, source: Object) -> Causes:
    found = _identifier(f"{path}.metric", source.get("metric") or {})
    target = source.get("target") or {}
    found += _target(f"{path}.target", target)
    if target.get("averageValue") is None:
        why = "must specify a positive target averageValue"
        found.append(errors.required(f"{path}.target.averageValue", why))
    return found


def _identifier(path: str, metric: Object) -> Causes:
    name = metric.get("name")
    if not name:
        return [errors.required(f"{path}.name", "must specify a metric name")]
    return invalid_each(f"{path}.name", name, formats.path_segment(name))


def _target(path: str, target: Object) -> Causes:
    kind = target.get("type") or ""
    found: Causes = []
    if not kind:
        found.append(errors.required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        why = "must be either Utilization, Value, or AverageValue"
        found.append(errors.invalid_value(f"{path}.type", kind, why))
    for name in ("value", "averageValue"):
        amount = target.get(name)
        if amount is not None and _nano(amount) <= 0:
            found.append(errors.invalid_value(f"{path}.{name}", str(amount), "must be positive"))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        at = f"{path}.averageUtilization"
        found.append(errors.invalid_value(at, percent, "must be greater than 0"))
    return found


def _rules(path: str, rules: Object) -> Causes:
    found: Causes = []
    window, at = rules.get("stabilizationWindowSeconds"), f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        why = "must be greater than or equal to zero"
        found.append(errors.invalid_value(at, window, why))
    if window is not None and window > _LONGEST_WINDOW:
        why = f"must be less than or equal to {_LONGEST_WINDOW}"
        found.append(errors.invalid_value(at, window, why))
    chosen = rules.get("selectPolicy")
    if chosen is not None and chosen not in _SELECT:
        found.append(errors.not_supported(f"{path}.selectPolicy", chosen, _SELECT))
    policies = rules.get("policies") or []
    if not policies:
        why = "must specify at least one Policy"
        found.append(errors.required(f"{path}.policies", why))
    for index, policy in enumerate(policies):
        found += _policy(f"{path}.policies[{index}]", policy)
    tolerance = rules.get("tolerance")
    if tolerance is not None and _nano(tolerance) < 0:
        at = f"{path}.tolerance"
        found.append(errors.invalid_value(at, str(tolerance), meta.NEGATIVE))
    return found


def _policy(path: str, policy: Object) -> Causes:
    found: Causes = []
    kind, value = policy.get("type") or "", policy.get("value") or 0
    period = policy.get("periodSeconds") or 0
    if kind not in _POLICIES:
        found.append(errors.not_supported(f"{path}.type", kind, _POLICIES))
    if value <= 0:
        found.append(errors.invalid_value(f"{path}.value", value, _POSITIVE))
    if period <= 0:
        found.append(errors.invalid_value(f"{path}.periodSeconds", period, _POSITIVE))
    if period > _LONGEST_PERIOD:
        why = f"must be less than or equal to {_LONGEST_PERIOD}"
        found.append(errors.invalid_value(f"{path}.periodSeconds", period, why))
    return found


def _nano(amount: Any) -> int:
    return quantity.parse(str(amount)).nano
