"""Rules of a Job's policies: what a failed pod means, when pods are replaced, what is success."""

from __future__ import annotations

from edgeorch.lib import intervals
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta
from edgeorch.model.validation.meta import Causes, non_negative

_MOST_RULES = 20
_MOST_CODES = 255
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATES = ("False", "True", "Unknown")


def pod_replacement(path: str, spec: Object) -> Causes:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    supported = ("Failed",) if spec.get("podFailurePolicy") else ("Failed", "TerminatingOrFailed")
    return [] if policy in supported else [errors.not_supported(path, policy, supported)]


def pod_failure(path: str, spec: Object) -> Causes:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    rules = policy.get("rules") or []
    at = f"{path}.podFailurePolicy.rules"
    if len(rules) > _MOST_RULES:
        return [errors.too_many(at, len(rules), _MOST_RULES)]
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    names = {container.get("name") for container in containers}
    found: Causes = []
    for index, rule in enumerate(rules):
        found += _failure_rule(f"{at}[{index}]", rule, spec, names)
    return found


def _failure_rule(path: str, rule: Object, spec: Object, names: set[str | None]) -> Causes:
    found: Causes = []
    action = rule.get("action") or ""
    if not action:
        shown = " ".join(f'"{name}"' for name in _ACTIONS)
        found.append(errors.required(f"{path}.action", f"valid values: [{shown}]"))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        why = "requires the backoffLimitPerIndex to be set"
        found.append(errors.invalid_value(f"{path}.action", action, why))
    elif action not in _ACTIONS:
        found.append(errors.not_supported(f"{path}.action", action, _ACTIONS))
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        found += _exit_codes(f"{path}.onExitCodes", codes, names)
    if conditions:
        found += _conditions(f"{path}.onPodConditions", conditions)
    if codes is not None and conditions:
        found.append(
            _bare(path, "specifying both OnExitCodes and OnPodConditions is not supported")
        )
    if codes is None and not conditions:
        found.append(_bare(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _bare(path: str, why: str) -> errors.Cause:
    """Without the value, which would be a whole rule."""
    return errors.Cause("FieldValueInvalid", path, f"Invalid value: {why}")


def _exit_codes(path: str, codes: Object, names: set[str | None]) -> Causes:
    found: Causes = []
    operator, values = codes.get("operator") or "", codes.get("values") or []
    if not operator:
        shown = " ".join(f'"{name}"' for name in _OPERATORS)
        found.append(errors.required(f"{path}.operator", f"valid values: [{shown}]"))
    elif operator not in _OPERATORS:
        found.append(errors.not_supported(f"{path}.operator", operator, _OPERATORS))
    name = codes.get("containerName")
    if name is not None and name not in names:
        why = "must be one of the container or init container names in the pod template"
        found.append(errors.invalid_value(f"{path}.containerName", name, why))
    at = f"{path}.values"
    if not values:
        found.append(errors.invalid_value(at, values, "at least one value is required"))
    elif len(values) > _MOST_CODES:
        found.append(errors.too_many(at, len(values), _MOST_CODES))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            why = "must not be 0 for the In operator"
            found.append(errors.invalid_value(f"{at}[{index}]", value, why))
        if value in values[:index]:
            found.append(errors.duplicate(f"{at}[{index}]", value))
    if values != sorted(values):
        found.append(errors.invalid_value(at, values, "must be ordered"))
    return found


def _conditions(path: str, patterns: list[Object]) -> Causes:
    if len(patterns) > _MOST_RULES:
        return [errors.too_many(path, len(patterns), _MOST_RULES)]
    found: Causes = []
    for index, pattern in enumerate(patterns):
        at = f"{path}[{index}]"
        kind, status = pattern.get("type") or "", pattern.get("status") or ""
        found += meta.invalid_each(f"{at}.type", kind, formats.qualified_name(kind))
        if not status:
            shown = " ".join(f'"{name}"' for name in _STATES)
            found.append(errors.required(f"{at}.status", f"valid values: [{shown}]"))
        elif status not in _STATES:
            found.append(errors.not_supported(f"{at}.status", status, _STATES))
    return found


def success(path: str, spec: Object) -> Causes:
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    path = f"{path}.successPolicy"
    if spec.get("completionMode") != "Indexed":
        return [errors.invalid_value(path, policy, "requires indexed completion mode")]
    rules = policy.get("rules") or []
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        return [errors.required(f"{path}.rules", why)]
    if len(rules) > _MOST_RULES:
        return [errors.too_many(f"{path}.rules", len(rules), _MOST_RULES)]
    found: Causes = []
    for index, rule in enumerate(rules):
        found += _success_rule(f"{path}.rules[{index}]", rule, spec.get("completions") or 0)
    return found


def _success_rule(path: str, rule: Object, completions: int) -> Causes:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        why = "at least one of succeededCount or succeededIndexes must be specified"
        return [errors.required(path, why)]
    found: Causes = []
    total: int | None = None
    if indexes is not None:
        try:
            wanted = intervals.parse(indexes)
            total = len(wanted)
            if any(index >= completions for index in wanted):
                raise ValueError(f"too large index: {indexes!r}")
        except ValueError as error:
            why = f"error parsing succeededIndexes: {error}"
            found.append(errors.invalid_value(f"{path}.succeededIndexes", indexes, why))
    if count is None:
        return found
    at = f"{path}.succeededCount"
    found += non_negative(at, count)
    if count > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        found.append(errors.invalid_value(at, count, why))
    if total is not None and count > total:
        why = (
            f"must be less than or equal to {total} (the number of indexes in the specified"
            " succeededIndexes field)"
        )
        found.append(errors.invalid_value(at, count, why))
    return found
