"""Rules of compute resources: names, quantities, requests within limits."""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats
from edgeorch.model.validation.meta import NEGATIVE, Causes, invalid_each

_HUGE = "hugepages-"
_STANDARD = (
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
)
_CONTAINER = ("cpu", "memory", "ephemeral-storage")
_COUNTED = (
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)


def requirements(path: str, resources: Object, claims: set[str]) -> Causes:
    """A container's ResourceRequirements; `claims` are the pod's resource claims."""
    found: Causes = []
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    for name in sorted(limits):
        found += _entry(f"{path}.limits[{name}]", name, limits[name])
    for name in sorted(requests):
        found += _entry(f"{path}.requests[{name}]", name, requests[name])
        found += _within(path, name, requests[name], limits.get(name))
    named = {*limits, *requests}
    if any(name.startswith(_HUGE) for name in named) and not named & {"cpu", "memory"}:
        found.append(errors.forbidden_field(path, "HugePages require cpu or memory"))
    return found + _claims(f"{path}.claims", resources.get("claims") or [], claims)


def _within(path: str, name: str, request: object, limit: object) -> Causes:
    overcommit = _native(name) and not name.startswith(_HUGE)
    if limit is None:
        if overcommit:
            return []
        why = "Limit must be set for non overcommitable resources"
        return [errors.required(f"{path}.limits", why)]
    asked, most = _nano(request), _nano(limit)
    if asked != most and not overcommit:
        why = f"must be equal to {name} limit of {limit}"
        return [errors.invalid_value(f"{path}.requests", str(request), why)]
    if asked > most:
        why = f"must be less than or equal to {name} limit of {limit}"
        return [errors.invalid_value(f"{path}.requests", str(request), why)]
    return []


def _entry(path: str, name: str, amount: object) -> Causes:
    found = _container_name(path, name) + amount_of(path, name, amount)
    if name.startswith(_HUGE):
        try:
            size = _nano(name.removeprefix(_HUGE))
        except ValueError:
            return found
        if size <= 0 or _nano(amount) % size:
            why = f"{amount} is not positive integer multiple of {name}"
            found.append(errors.invalid_value(path, str(amount), why))
    return found


def _container_name(path: str, name: str) -> Causes:
    found = invalid_each(path, name, formats.qualified_name(name))
    if "/" not in name:
        if not found and name not in _STANDARD and not name.startswith(_HUGE):
            why = "must be a standard resource type or fully qualified"
            found.append(errors.invalid_value(path, name, why))
        if name not in _CONTAINER and not name.startswith(_HUGE):
            why = "must be a standard resource for containers"
            found.append(errors.invalid_value(path, name, why))
    elif not _native(name) and (
        name.startswith("requests.") or formats.qualified_name(f"requests.{name}")
    ):
        why = "doesn't follow extended resource name standard"
        found.append(errors.invalid_value(path, name, why))
    return found


def quota_name(path: str, name: str) -> Causes:
    """What a ResourceQuota may bound."""
    found = invalid_each(path, name, formats.qualified_name(name))
    known = name in _STANDARD or name.startswith((_HUGE, "requests.hugepages-"))
    if "/" not in name and not found and not known:
        why = "must be a standard resource type or fully qualified"
        found.append(errors.invalid_value(path, name, why))
        why = "must be a standard resource for quota"
        found.append(errors.invalid_value(path, name, why))
    return found


def amount_of(path: str, name: str, amount: object) -> Causes:
    value = _nano(amount)
    found: Causes = []
    if value < 0:
        found.append(errors.invalid_value(path, str(amount), NEGATIVE))
    counted = name in _COUNTED or ("/" in name and not _native(name))
    if counted and value % quantity.NANO:
        found.append(errors.invalid_value(path, str(amount), "must be an integer"))
    return found


def _claims(path: str, listed: list[Object], known: set[str]) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, claim in enumerate(listed):
        at = f"{path}[{index}]"
        name, request = claim.get("name") or "", claim.get("request") or ""
        if not name:
            found.append(errors.required(at))
            continue
        key = f"{name}/{request}" if request else name
        if name in seen or key in seen:
            found.append(errors.duplicate(at, name if name in seen else key))
        seen.add(key)
        if name not in known:
            told = f": {', '.join(sorted(known))}" if known else " which is empty"
            why = f"must be one of the names in pod.spec.resourceClaims{told}"
            found.append(errors.not_found_field(at, name, why))
    return found


def _native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _nano(amount: object) -> int:
    return quantity.parse(str(amount)).nano
