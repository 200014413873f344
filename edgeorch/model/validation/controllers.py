"""Rules of StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions and budgets.

After pkg/apis/apps/validation, core/validation and policy/validation. As there, what the template
of a StatefulSet says of its containers is checked when its pods are made: volumes come from claims.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors, selectors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, pods
from edgeorch.model.validation.meta import Causes, invalid_each, non_negative

_MAY_CHANGE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def stateful_set(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + stateful_set_spec(obj.get("spec") or {})


def stateful_set_spec(spec: Object) -> Causes:
    found: Causes = []
    policy = spec.get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        found.append(errors.invalid_value("spec.podManagementPolicy", policy, why))
    found += _stateful_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if retention.get(field) not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            value = retention.get(field) or ""
            found.append(errors.not_supported(path, value, ("Delete", "Retain")))
    found += non_negative("spec.replicas", spec.get("replicas"))
    found += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    found += non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    start = (spec.get("ordinals") or {}).get("start")
    found += non_negative("spec.ordinals.start", start)
    return found + _selected_template(spec, "statefulset", "StatefulSet", whole=False)


def _stateful_strategy(path: str, strategy: Object) -> Causes:
    rolling = strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "OnDelete":
            if rolling is None:
                return []
            why = "only allowed for updateStrategy 'RollingUpdate'"
            return [errors.invalid_value(f"{path}.rollingUpdate", rolling, why)]
        case "RollingUpdate":
            rolling = rolling or {}
            found = non_negative(f"{path}.rollingUpdate.partition", rolling.get("partition"))
            most = rolling.get("maxUnavailable")
            if most is not None:
                at = f"{path}.rollingUpdate.maxUnavailable"
                found += _int_or_percent(at, most)
                if _amount(most) == 0:
                    found.append(errors.invalid_value(at, most, "cannot be 0"))
            return found
        case _:
            why = "must be 'RollingUpdate' or 'OnDelete'"
            return [errors.invalid_value(path, strategy, why)]


def stateful_set_update(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + stateful_set_spec(spec)
    if _fixed(spec) != _fixed(before):
        named = ", ".join(f"'{field}'" for field in _MAY_CHANGE[:-1])
        why = (
            f"updates to statefulset spec for fields other than {named} and "
            f"'{_MAY_CHANGE[-1]}' are forbidden"
        )
        found.append(errors.forbidden_field("spec", why))
    return found


def _fixed(spec: Object) -> Object:
    rest = {key: value for key, value in spec.items() if key not in _MAY_CHANGE}
    return {key: value for key, value in rest.items() if value not in (None, "", [], {})}


def daemon_set(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + daemon_set_spec(obj.get("spec") or {})


def daemon_set_update(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + daemon_set_spec(spec)
    if (spec.get("selector") or {}) != (before.get("selector") or {}):
        shown = meta.shown_selector(spec.get("selector"))
        found.append(errors.invalid_value("spec.selector", shown, meta.IMMUTABLE))
    return found


def daemon_set_spec(spec: Object) -> Causes:
    found = _selected_template(spec, "daemonset", "DaemonSet")
    found += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    found += _daemon_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    return found + non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def _daemon_strategy(path: str, strategy: Object) -> Causes:
    match strategy.get("type"):
        case "OnDelete":
            return []
        case "RollingUpdate":
            rolling = strategy.get("rollingUpdate")
            at = f"{path}.rollingUpdate"
            return [errors.required(at)] if rolling is None else _daemon_rolling(at, rolling)
        case other:
            return [errors.not_supported(path, other or "", ("RollingUpdate", "OnDelete"))]


def _daemon_rolling(path: str, rolling: Object) -> Causes:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = _up_to_all(f"{path}.maxUnavailable", unavailable)
    found += _up_to_all(f"{path}.maxSurge", surge)
    if _amount(unavailable) and _amount(surge):
        why = "may not be set when maxUnavailable is non-zero"
        found.append(errors.invalid_value(f"{path}.maxSurge", surge, why))
    if not _amount(unavailable) and not _amount(surge):
        found.append(errors.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def replication_controller(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + replication_controller_spec(obj.get("spec") or {})


def replication_controller_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    return found + replication_controller_spec(new.get("spec") or {})


def replication_controller_spec(spec: Object) -> Causes:
    found = non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        found.append(errors.required("spec.selector"))
    found += non_negative("spec.replicas", spec.get("replicas"))
    if template is None:
        return [*found, errors.required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selectors.map_selector(selector)(labels):
        found.append(_unselected(labels))
    return found + pods.template("spec.template", template) + _lasting(template, _RC)


_RC = "ReplicationController"


def _selected_template(spec: Object, word: str, kind: str, *, whole: bool = True) -> Causes:
    """`whole`: also what the template says of containers is checked."""
    found: Causes = []
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        found.append(errors.required("spec.selector"))
    else:
        wrong = meta.label_selector("spec.selector", selector)
        found += wrong
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            why = f"empty selector is invalid for {word}"
            found.append(errors.invalid_value("spec.selector", {}, why))
        if wrong:
            shown = meta.shown_selector(selector)
            return [*found, errors.invalid_value("spec.selector", shown, "")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selectors.label_selector(selector)(labels):
        found.append(_unselected(labels))
    if whole:
        found += pods.template("spec.template", template)
    else:
        details = template.get("metadata") or {}
        found += meta.labels("spec.template.labels", details.get("labels"))
        found += meta.annotation_map("spec.template.annotations", details.get("annotations"))
    return found + _lasting(template, kind)


def _unselected(labels: dict[str, str]) -> errors.Cause:
    why = "`selector` does not match template `labels`"
    shown = dict(sorted(labels.items())) or None
    return errors.invalid_value("spec.template.metadata.labels", shown, why)


def _lasting(template: Object, kind: str) -> Causes:
    found: Causes = []
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        at = "spec.template.spec.restartPolicy"
        found.append(errors.not_supported(at, spec.get("restartPolicy") or "", ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        at = "spec.template.spec.activeDeadlineSeconds"
        found.append(errors.forbidden_field(at, why))
    return found


def controller_revision(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    if obj.get("data") is None:
        found.append(errors.required("data", "data is mandatory"))
    return found + non_negative("revision", obj.get("revision"))


def controller_revision_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + non_negative("revision", new.get("revision"))
    return found + meta.immutable("data", new.get("data"), old.get("data"))


def disruption_budget(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + disruption_budget_spec(obj.get("spec") or {})


def disruption_budget_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + disruption_budget_spec(new.get("spec") or {})


def disruption_budget_spec(spec: Object) -> Causes:
    found: Causes = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        why = "minAvailable and maxUnavailable cannot be both set"
        found.append(errors.invalid_value("spec", spec, why))
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            found += _up_to_all(f"spec.{field}", value)
    if spec.get("selector") is not None:
        found += meta.label_selector("spec.selector", spec["selector"])
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _POLICIES:
        path = "spec.unhealthyPodEvictionPolicy"
        found.append(errors.not_supported(path, policy, _POLICIES))
    return found


def _up_to_all(path: str, value: Any) -> Causes:
    found = _int_or_percent(path, value)
    if not found and isinstance(value, str) and _amount(value) > 100:
        found.append(errors.invalid_value(path, value, "must not be greater than 100%"))
    return found


def _int_or_percent(path: str, value: Any) -> Causes:
    if isinstance(value, str):
        return invalid_each(path, value, formats.percent(value))
    return non_negative(path, value)


def _amount(value: Any) -> int:
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if digits.isascii() and digits.isdigit() else 0
    return int(value or 0)
