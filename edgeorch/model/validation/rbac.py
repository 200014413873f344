"""Rules of roles and of who has them (pkg/apis/rbac/validation). core.rbac enforces them."""

from __future__ import annotations

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta
from edgeorch.model.validation.meta import Causes, invalid_each

_GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")


def role(obj: Object) -> Causes:
    return meta.validate(obj, True, formats.path_segment) + _rules(obj, namespaced=True)


def cluster_role(obj: Object) -> Causes:
    found = meta.validate(obj, False, formats.path_segment) + _rules(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return found
    path = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or []
    if not selectors:
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        found.append(errors.required(path, why))
    for index, selector in enumerate(selectors):
        found += meta.label_selector(f"{path}[{index}]", selector)
    return found


def _rules(obj: Object, *, namespaced: bool) -> Causes:
    found: Causes = []
    for index, rule in enumerate(obj.get("rules") or []):
        found += _rule(f"rules[{index}]", rule, namespaced)
    return found


def _rule(path: str, rule: Object, namespaced: bool) -> Causes:
    found: Causes = []
    if not rule.get("verbs"):
        found.append(errors.required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs") or []
    if urls:
        if namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            found.append(errors.invalid_value(f"{path}.nonResourceURLs", urls, why))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(errors.invalid_value(f"{path}.nonResourceURLs", urls, why))
        return found
    if not rule.get("apiGroups"):
        why = "resource rules must supply at least one api group"
        found.append(errors.required(f"{path}.apiGroups", why))
    if not rule.get("resources"):
        why = "resource rules must supply at least one resource"
        found.append(errors.required(f"{path}.resources", why))
    return found


def role_binding(obj: Object) -> Causes:
    found = meta.validate(obj, True, formats.path_segment)
    return found + _reference(obj, ("ClusterRole", "Role")) + _subjects(obj, namespaced=True)


def cluster_role_binding(obj: Object) -> Causes:
    found = meta.validate(obj, False, formats.path_segment)
    return found + _reference(obj, ("ClusterRole",)) + _subjects(obj, namespaced=False)


def role_binding_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + role_binding(new) + _same_role(new, old)


def cluster_role_binding_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + cluster_role_binding(new) + _same_role(new, old)


def _same_role(new: Object, old: Object) -> Causes:
    if new.get("roleRef") != old.get("roleRef"):
        return [errors.invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]
    return []


def _reference(obj: Object, kinds: tuple[str, ...]) -> Causes:
    ref = obj.get("roleRef") or {}
    found: Causes = []
    if ref.get("apiGroup") != _GROUP:
        path = "roleRef.apiGroup"
        found.append(errors.not_supported(path, ref.get("apiGroup") or "", (_GROUP,)))
    if ref.get("kind") not in kinds:
        found.append(errors.not_supported("roleRef.kind", ref.get("kind") or "", kinds))
    name = ref.get("name") or ""
    if not name:
        return [*found, errors.required("roleRef.name")]
    return found + invalid_each("roleRef.name", name, formats.path_segment(name))


def _subjects(obj: Object, *, namespaced: bool) -> Causes:
    found: Causes = []
    for index, subject in enumerate(obj.get("subjects") or []):
        found += _subject(f"subjects[{index}]", subject, namespaced)
    return found


def _subject(path: str, subject: Object, namespaced: bool) -> Causes:
    found: Causes = []
    name, kind = subject.get("name") or "", subject.get("kind") or ""
    group = subject.get("apiGroup") or ""
    if not name:
        found.append(errors.required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            found += invalid_each(f"{path}.name", name, formats.dns1123_subdomain(name))
        if group:
            found.append(errors.not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(errors.required(f"{path}.namespace"))
    elif kind in _SUBJECTS:
        if group != _GROUP:
            found.append(errors.not_supported(f"{path}.apiGroup", group, (_GROUP,)))
    else:
        found.append(errors.not_supported(f"{path}.kind", kind, _SUBJECTS))
    return found
