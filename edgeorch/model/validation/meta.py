"""Rules of ObjectMeta, of label selectors, and the small pieces every kind's rules are made of.

After apimachinery's api/validation/objectmeta.go and apis/meta/v1/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats

Causes = list[errors.Cause]
NameRule = Callable[[str], list[str]]

ANNOTATIONS_LIMIT = 256 * 1024
IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than zero"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")

subdomain_name: NameRule = formats.dns1123_subdomain
label_name: NameRule = formats.dns1123_label
service_name: NameRule = formats.dns1035_label


def invalid_each(path: str, value: Any, reasons: Iterable[str]) -> Causes:
    return [errors.invalid_value(path, value, why) for why in reasons]


def non_negative(path: str, value: int | None) -> Causes:
    if value is not None and value < 0:
        return [errors.invalid_value(path, value, NEGATIVE)]
    return []


def immutable(path: str, new: Any, old: Any) -> Causes:
    """Absent, null and empty are one and the same."""
    if (new or None) != (old or None):
        return [errors.invalid_value(path, new, IMMUTABLE)]
    return []


def one_of(path: str, value: Any, supported: Iterable[str]) -> Causes:
    """A required enumeration."""
    names = list(supported)
    if not value:
        return [errors.required(path)]
    return [] if value in names else [errors.not_supported(path, value, names)]


def validate(obj: Object, namespaced: bool, name_rule: NameRule) -> Causes:
    meta = obj.get("metadata") or {}
    found: Causes = []
    prefix = meta.get("generateName")
    if prefix:
        # A trailing dash is fine in what a suffix is added to.
        masked = prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        found += invalid_each("metadata.generateName", prefix, name_rule(masked))
    name = meta.get("name")
    if not name:
        found.append(errors.required("metadata.name", "name or generateName is required"))
    else:
        found += invalid_each("metadata.name", name, name_rule(name))
    namespace = meta.get("namespace")
    if not namespaced:
        if namespace:
            found.append(errors.forbidden_field("metadata.namespace", "not allowed on this type"))
    elif not namespace:
        found.append(errors.required("metadata.namespace"))
    else:
        found += invalid_each("metadata.namespace", namespace, formats.dns1123_label(namespace))
    found += non_negative("metadata.generation", meta.get("generation"))
    return found + _common(meta) + _finalizers(meta) + _kube_finalizers(meta)


def validate_update(new: Object, old: Object) -> Causes:
    meta, before = new.get("metadata") or {}, old.get("metadata") or {}
    found: Causes = []
    if before.get("deletionTimestamp"):
        added = set(meta.get("finalizers") or []) - set(before.get("finalizers") or [])
        if added:
            shown = ", ".join(f'"{name}"' for name in sorted(added))
            why = (
                "no new finalizers can be added if the object is being deleted,"
                f" found new finalizers []string{{{shown}}}"
            )
            found.append(errors.forbidden_field("metadata.finalizers", why))
    if not meta.get("resourceVersion"):
        path = "metadata.resourceVersion"
        found.append(errors.invalid_value(path, "", "must be specified for an update"))
    found += non_negative("metadata.generation", meta.get("generation"))
    if (meta.get("generation") or 0) < (before.get("generation") or 0):
        path = "metadata.generation"
        found.append(errors.invalid_value(path, meta.get("generation"), "must not be decremented"))
    for field in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        found += immutable(f"metadata.{field}", meta.get(field), before.get(field))
    return found + _common(meta) + _kube_finalizers(meta)


def _common(meta: Object) -> Causes:
    return (
        labels("metadata.labels", meta.get("labels"))
        + annotation_map("metadata.annotations", meta.get("annotations"))
        + _owners(meta.get("ownerReferences") or [])
    )


def labels(path: str, values: dict[str, str] | None) -> Causes:
    found: Causes = []
    for key, value in sorted((values or {}).items()):
        found += invalid_each(path, key, formats.qualified_name(key))
        found += invalid_each(path, value, formats.label_value(value))
    return found


def annotation_map(path: str, values: dict[str, str] | None) -> Causes:
    found: Causes = []
    size = 0
    for key, value in sorted((values or {}).items()):
        found += invalid_each(path, key, formats.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        found.append(errors.too_long(path, ANNOTATIONS_LIMIT))
    return found


def _owners(owners: list[Object]) -> Causes:
    found: Causes = []
    controller = ""
    base = "metadata.ownerReferences"
    for index, owner in enumerate(owners):
        path = f"{base}[{index}]"
        version = owner.get("apiVersion") or ""
        if not version:
            found.append(errors.required(f"{path}.apiVersion", "must not be empty"))
        elif version.count("/") > 1 or version.endswith("/"):
            why = "must be <group>/<version> or <version>"
            found.append(errors.invalid_value(f"{path}.apiVersion", version, why))
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                found.append(errors.required(f"{path}.{field}", "must not be empty"))
        if version == "v1" and owner.get("kind") == "Event":
            why = "/v1, Kind=Event is disallowed from being an owner"
            found.append(errors.invalid_value(path, owner, why))
        if owner.get("controller"):
            name = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                why = (
                    'Only one reference can have Controller set to true. Found "true" in'
                    f" references for {controller} and {name}"
                )
                found.append(errors.invalid_value(base, owners, why))
            else:
                controller = name
    return found


def _finalizers(meta: Object) -> Causes:
    found: Causes = []
    names = meta.get("finalizers") or []
    path = "metadata.finalizers"
    for name in names:
        found += invalid_each(path, name, formats.qualified_name(name))
    if "orphan" in names and "foregroundDeletion" in names:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(errors.invalid_value(path, names, why))
    return found


def _kube_finalizers(meta: Object) -> Causes:
    found: Causes = []
    for index, name in enumerate(meta.get("finalizers") or []):
        found += kube_finalizer(f"metadata.finalizers[{index}]", name)
    return found


def kube_finalizer(path: str, name: str) -> Causes:
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        return [errors.invalid_value(path, name, why)]
    return []


def shown_selector(selector: Object | None) -> Object | None:
    """A LabelSelector as messages show it."""
    if selector is None:
        return None
    shown: Object = {}
    if selector.get("matchLabels"):
        shown["matchLabels"] = dict(sorted(selector["matchLabels"].items()))
    if selector.get("matchExpressions"):
        shown["matchExpressions"] = [
            {field: rule[field] for field in ("key", "operator", "values") if rule.get(field)}
            for rule in selector["matchExpressions"]
        ]
    return shown


def label_selector(path: str, selector: Object | None) -> Causes:
    """A metav1.LabelSelector."""
    if selector is None:
        return []
    found = labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for index, rule in enumerate(selector.get("matchExpressions") or []):
        found += _requirement(f"{path}.matchExpressions[{index}]", rule)
    return found


def _requirement(path: str, rule: Object) -> Causes:
    found: Causes = []
    operator, values = rule.get("operator", ""), rule.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(errors.required(f"{path}.values", why))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(errors.forbidden_field(f"{path}.values", why))
    else:
        why = "not a valid selector operator"
        found.append(errors.invalid_value(f"{path}.operator", operator, why))
    key = rule.get("key", "")
    found += invalid_each(f"{path}.key", key, formats.qualified_name(key))
    for index, value in enumerate(values):
        found += invalid_each(f"{path}.values[{index}]", value, formats.label_value(value))
    return found
