"""Rules of where a pod may run: affinity, tolerations, taints, topology spread.

One device has nothing to schedule, but a manifest written for a cluster is held to the same rules.
"""

from __future__ import annotations

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats
from edgeorch.model.validation.meta import POSITIVE, Causes, invalid_each, label_selector

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BOTH = "exists in both matchLabelKeys and labelSelector"
_NO_SELECTOR = "must not be specified when labelSelector is not set"


def tolerations(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    for index, toleration in enumerate(listed):
        at = f"{path}[{index}]"
        key, value = toleration.get("key") or "", toleration.get("value") or ""
        operator, effect = toleration.get("operator") or "", toleration.get("effect") or ""
        if key:
            found += invalid_each(f"{at}.key", key, formats.qualified_name(key))
        elif operator != "Exists":
            why = (
                "operator must be Exists when `key` is empty, which means"
                ' "match all values and all keys"'
            )
            found.append(errors.invalid_value(f"{at}.operator", operator, why))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(errors.invalid_value(f"{at}.effect", effect, why))
        if operator in ("Equal", ""):
            reasons = formats.label_value(value)
            if reasons:
                found.append(errors.invalid_value(f"{at}.operator", value, ";".join(reasons)))
        elif operator != "Exists":
            supported = ("Equal", "Exists")
            found.append(errors.not_supported(f"{at}.operator", operator, supported))
        elif value:
            why = "value must be empty when `operator` is 'Exists'"
            found.append(errors.invalid_value(f"{at}.operator", value, why))
        if effect and effect not in _EFFECTS:
            found.append(errors.not_supported(f"{at}.effect", effect, _EFFECTS))
    return found


def taints(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(listed):
        at = f"{path}[{index}]"
        key, value = taint.get("key") or "", taint.get("value") or ""
        effect = taint.get("effect") or ""
        found += invalid_each(f"{at}.key", key, formats.qualified_name(key))
        reasons = formats.label_value(value)
        if reasons:
            found.append(errors.invalid_value(f"{at}.value", value, ";".join(reasons)))
        if not effect:
            found.append(errors.required(f"{at}.effect"))
        elif effect not in _EFFECTS:
            found.append(errors.not_supported(f"{at}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            why = "taints must be unique by key and effect pair"
            found.append(errors.duplicate(at, taint, why))
        seen.add((key, effect))
    return found


def affinity(path: str, rules: Object | None) -> Causes:
    if rules is None:
        return []
    found: Causes = []
    node = rules.get("nodeAffinity")
    if node is not None:
        found += _node_affinity(f"{path}.nodeAffinity", node)
    for field in ("podAffinity", "podAntiAffinity"):
        terms = rules.get(field)
        if terms is None:
            continue
        for index, term in enumerate(terms.get(_REQUIRED) or []):
            found += _pod_term(f"{path}.{field}.{_REQUIRED}[{index}]", term)
        for index, weighted in enumerate(terms.get(_PREFERRED) or []):
            at = f"{path}.{field}.{_PREFERRED}[{index}]"
            found += _weight(at, weighted)
            found += _pod_term(f"{at}.podAffinityTerm", weighted.get("podAffinityTerm") or {})
    return found


def _node_affinity(path: str, node: Object) -> Causes:
    found: Causes = []
    required = node.get(_REQUIRED)
    if required is not None:
        found += node_selector(f"{path}.{_REQUIRED}", required)
    for index, preferred in enumerate(node.get(_PREFERRED) or []):
        at = f"{path}.{_PREFERRED}[{index}]"
        found += _weight(at, preferred)
        preference = preferred.get("preference") or {}
        found += _node_term(f"{at}.preference", preference, strict=False)
    return found


def node_selector(path: str, selector: Object) -> Causes:
    """A core NodeSelector."""
    found: Causes = []
    at = f"{path}.nodeSelectorTerms"
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        found.append(errors.required(at, "must have at least one node selector term"))
    for index, term in enumerate(terms):
        found += _node_term(f"{at}[{index}]", term, strict=True)
    return found


def _weight(path: str, term: Object) -> Causes:
    weight = term.get("weight") or 0
    if 1 <= weight <= 100:
        return []
    return [errors.invalid_value(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(path: str, term: Object, *, strict: bool) -> Causes:
    found: Causes = []
    for index, rule in enumerate(term.get("matchExpressions") or []):
        found += _node_expression(f"{path}.matchExpressions[{index}]", rule, strict)
    for index, rule in enumerate(term.get("matchFields") or []):
        found += _node_field(f"{path}.matchFields[{index}]", rule)
    return found


def _node_expression(path: str, rule: Object, strict: bool) -> Causes:
    found: Causes = []
    operator, values = rule.get("operator") or "", rule.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(errors.required(f"{path}.values", why))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(errors.forbidden_field(f"{path}.values", why))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(errors.required(f"{path}.values", why))
    else:
        why = "not a valid selector operator"
        found.append(errors.invalid_value(f"{path}.operator", operator, why))
    key = rule.get("key") or ""
    found += invalid_each(f"{path}.key", key, formats.qualified_name(key))
    for index, value in enumerate(values if strict else []):
        found += invalid_each(f"{path}.values[{index}]", value, formats.label_value(value))
    return found


def _node_field(path: str, rule: Object) -> Causes:
    found: Causes = []
    operator, values = rule.get("operator") or "", rule.get("values") or []
    if operator not in ("In", "NotIn"):
        why = "not a valid selector operator"
        found.append(errors.invalid_value(f"{path}.operator", operator, why))
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(errors.required(f"{path}.values", why))
    if rule.get("key") != "metadata.name":
        why = "not a valid field selector key"
        return [*found, errors.invalid_value(f"{path}.key", rule.get("key") or "", why)]
    for index, value in enumerate(values):
        reasons = formats.dns1123_subdomain(value)
        found += invalid_each(f"{path}.values[{index}]", value, reasons)
    return found


def _pod_term(path: str, term: Object) -> Causes:
    selector = term.get("labelSelector")
    found = label_selector(f"{path}.labelSelector", selector)
    found += label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for name in term.get("namespaces") or []:
        found += invalid_each(f"{path}.namespace", name, formats.dns1123_label(name))
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            found.append(errors.forbidden_field(f"{path}.{field}", _NO_SELECTOR))
            continue
        for index, key in enumerate(keys):
            found += invalid_each(f"{path}.{field}[{index}]", key, formats.qualified_name(key))
    for index, key in enumerate(match):
        if key in mismatch:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(errors.invalid_value(f"{path}.matchLabelKeys[{index}]", key, why))
    topology = term.get("topologyKey") or ""
    if not topology:
        found.append(errors.required(f"{path}.topologyKey", "can not be empty"))
    return found + invalid_each(f"{path}.topologyKey", topology, formats.qualified_name(topology))


def topology_spread(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    for index, rule in enumerate(listed):
        at = f"{path}[{index}]"
        skew = rule.get("maxSkew") or 0
        if skew <= 0:
            found.append(errors.invalid_value(f"{at}.maxSkew", skew, POSITIVE))
        key, action = rule.get("topologyKey") or "", rule.get("whenUnsatisfiable") or ""
        if not key:
            found.append(errors.required(f"{at}.topologyKey", "can not be empty"))
        actions = ("DoNotSchedule", "ScheduleAnyway")
        if action not in actions:
            found.append(errors.not_supported(f"{at}.whenUnsatisfiable", action, actions))
        if any(
            other.get("topologyKey") == key and other.get("whenUnsatisfiable") == action
            for other in listed[index + 1 :]
        ):
            where = f"{at}.{{topologyKey, whenUnsatisfiable}}"
            found.append(errors.duplicate(where, f"{{{key}, {action}}}"))
        found += _min_domains(f"{at}.minDomains", rule.get("minDomains"), action)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = rule.get(field)
            if policy not in (None, "Honor", "Ignore"):
                supported = ("Honor", "Ignore")
                found.append(errors.not_supported(f"{at}.{field}", policy, supported))
        found += _spread_keys(f"{at}.matchLabelKeys", rule)
        found += label_selector(f"{at}.labelSelector", rule.get("labelSelector"))
    return found


def _min_domains(path: str, count: int | None, action: str) -> Causes:
    if count is None:
        return []
    found: Causes = []
    if count <= 0:
        found.append(errors.invalid_value(path, count, POSITIVE))
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        found.append(errors.invalid_value(path, count, why))
    return found


def _spread_keys(path: str, rule: Object) -> Causes:
    keys, selector = rule.get("matchLabelKeys") or [], rule.get("labelSelector")
    if not keys:
        return []
    found: Causes = []
    if selector is None:
        found.append(errors.forbidden_field(path, _NO_SELECTOR))
    used = set((selector or {}).get("matchLabels") or {})
    used |= {term.get("key") for term in (selector or {}).get("matchExpressions") or []}
    for index, key in enumerate(keys):
        found += invalid_each(f"{path}[{index}]", key, formats.qualified_name(key))
        if key in used:
            found.append(errors.invalid_value(f"{path}[{index}]", key, _BOTH))
    return found
