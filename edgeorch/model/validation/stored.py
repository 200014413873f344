"""Rules of kinds that are kept for those who read them: PriorityClass, RuntimeClass, Lease,
LimitRange, ResourceQuota, PodTemplate, CSIDriver, CSINode.

After pkg/apis/{core,scheduling,node,coordination,storage}/validation.
"""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import errors, priority_classes
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, pods, resources, scheduling
from edgeorch.model.validation.meta import Causes, invalid_each

_PREEMPTION = ("Never", "PreemptLowerPriority")
_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)


# --- scheduling, node, coordination -------------------------------------------------------------


def priority_class(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value") or 0
    if name.startswith(priority_classes.SYSTEM_PREFIX):
        if priority_classes.SYSTEM.get(name) != value:
            prefix = priority_classes.SYSTEM_PREFIX
            why = f"priority class names with '{prefix}' prefix are reserved for system use only"
            found.append(errors.forbidden_field("metadata.name", why))
    elif value > priority_classes.HIGHEST_OF_USERS:
        most = priority_classes.HIGHEST_OF_USERS
        why = f"maximum allowed value of a user defined priority is {most}"
        found.append(errors.forbidden_field("value", why))
    policy = obj.get("preemptionPolicy")
    if policy and policy not in _PREEMPTION:
        found.append(errors.not_supported("preemptionPolicy", policy, _PREEMPTION))
    return found


def priority_class_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    if (new.get("value") or 0) != (old.get("value") or 0):
        found.append(errors.forbidden_field("value", "may not be changed in an update."))
    path = "preemptionPolicy"
    return found + meta.immutable(path, new.get(path), old.get(path))


def runtime_class(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    handler = obj.get("handler") or ""
    found += invalid_each("handler", handler, formats.dns1123_label(handler))
    fixed = (obj.get("overhead") or {}).get("podFixed") or {}
    found += resources.requirements("overhead.podFixed", {"limits": fixed}, set())
    where = obj.get("scheduling") or {}
    found += meta.labels("scheduling.nodeSelector", where.get("nodeSelector"))
    return found + scheduling.tolerations("scheduling.tolerations", where.get("tolerations") or [])


def runtime_class_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + meta.immutable(
        "handler", new.get("handler"), old.get("handler")
    )


def lease(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    spec = obj.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        path = "spec.leaseDurationSeconds"
        found.append(errors.invalid_value(path, seconds, "must be greater than 0"))
    found += meta.non_negative("spec.leaseTransitions", transitions)
    strategy, holder = spec.get("strategy"), spec.get("preferredHolder")
    if holder and not strategy:
        why = "may only be specified if `strategy` is defined"
        found.append(errors.forbidden_field("spec.preferredHolder", why))
    return found


# --- limits and quotas --------------------------------------------------------------------------


def limit_range(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    types: set[str] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or []):
        path, kind = f"spec.limits[{index}]", item.get("type") or ""
        found += invalid_each(f"{path}.type", kind, formats.qualified_name(kind))
        if kind in types:
            found.append(errors.duplicate(f"{path}.type", kind))
        types.add(kind)
        found += _limits(path, kind, item)
    return found


_TABLES = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
# Of each pair the first may not be above the second; how messages call them.
_ORDER = (
    ("min", "max", "min", "min", "max"),
    ("min", "defaultRequest", "defaultRequest", "min", "default request"),
    ("defaultRequest", "max", "defaultRequest", "default request", "max"),
    ("defaultRequest", "default", "defaultRequest", "default request", "default limit"),
    ("min", "default", "default", "min", "default"),
    ("default", "max", "default", "default", "max"),
)


def _limits(path: str, kind: str, item: Object) -> Causes:
    found: Causes = []
    for table in _TABLES:
        for name, amount in sorted((item.get(table) or {}).items()):
            at = f"{path}.{table}[{name}]"
            found += invalid_each(at, name, formats.qualified_name(name))
            found += resources.amount_of(at, name, amount)
    if kind == "Pod":
        for table in ("default", "defaultRequest"):
            if item.get(table):
                why = "may not be specified when `type` is 'Pod'"
                found.append(errors.forbidden_field(f"{path}.{table}", why))
    if kind == "PersistentVolumeClaim" and not any(
        "storage" in (item.get(table) or {}) for table in ("min", "max")
    ):
        why = "either minimum or maximum storage value is required, but neither was provided"
        found.append(errors.required(f"{path}.limits", why))
    names = sorted({name for table in _TABLES for name in item.get(table) or {}})
    for name in names:
        found += _ordered(path, name, item)
    return found


def _ordered(path: str, name: str, item: Object) -> Causes:
    found: Causes = []
    for low, high, field, low_told, high_told in _ORDER:
        less, more = (item.get(low) or {}).get(name), (item.get(high) or {}).get(name)
        if less is None or more is None:
            continue
        if quantity.parse(str(more)) < quantity.parse(str(less)):
            told = f"{low_told} value {less} is greater than {high_told} value {more}"
            shown = less if field == low else more
            found.append(errors.invalid_value(f"{path}.{field}[{name}]", shown, told))
    ratio = (item.get("maxLimitRequestRatio") or {}).get(name)
    if ratio is not None and quantity.parse(str(ratio)).nano < quantity.NANO:
        at = f"{path}.maxLimitRequestRatio[{name}]"
        found.append(errors.invalid_value(at, ratio, f"ratio {ratio} is less than 1"))
    return found


def resource_quota(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    spec = obj.get("spec") or {}
    for name, amount in sorted((spec.get("hard") or {}).items()):
        path = f"spec.hard[{name}]"
        found += resources.quota_name(path, name) + resources.amount_of(path, name, amount)
    seen: set[str] = set()
    for scope in spec.get("scopes") or []:
        if scope not in _SCOPES:
            found.append(errors.invalid_value("spec.scopes", spec["scopes"], "unsupported scope"))
        seen.add(scope)
    for first, second in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if {first, second} <= seen:
            why = "conflicting scopes"
            found.append(errors.invalid_value("spec.scopes", spec["scopes"], why))
    return found


def resource_quota_update(new: Object, old: Object) -> Causes:
    now, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + resource_quota(new)
    if sorted(now.get("scopes") or []) != sorted(before.get("scopes") or []):
        path = "spec.scopes"
        found.append(errors.invalid_value(path, now.get("scopes"), meta.IMMUTABLE))
    return found


# --- templates and drivers ----------------------------------------------------------------------


def pod_template(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + pods.template("template", obj.get("template") or {})


def csi_driver(obj: Object) -> Causes:
    return meta.validate(obj, False, meta.subdomain_name)


def csi_node(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    names: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or []):
        path = f"spec.drivers[{index}]"
        name = driver.get("name") or ""
        if not name:
            found.append(errors.required(f"{path}.name"))
        else:
            found += invalid_each(f"{path}.name", name, formats.dns1123_subdomain(name.lower()))
        if name in names:
            found.append(errors.duplicate(f"{path}.name", name))
        names.add(name)
        if not driver.get("nodeID"):
            found.append(errors.required(f"{path}.nodeID"))
    return found
