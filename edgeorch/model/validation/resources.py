"""Rules of compute resources: names, quantities, requests within limits."""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import errors, pod_resources
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


def of_pod(path: str, spec: Object) -> Causes:
    """What a pod says of itself (KEP-2837): at least what its containers ask for."""
    own = spec["resources"]
    limits, requests = own.get("limits") or {}, own.get("requests") or {}
    found: Causes = []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name in sorted(amounts):
            if not pod_resources.pod_level(name):
                at = f"{path}.{field}.{name}"
                found.append(errors.not_supported(at, name, ("cpu", "memory", "hugepages-")))
    if own.get("claims"):
        why = "claims may not be set for Resources at pod-level"
        found.append(errors.forbidden_field(f"{path}.claims", why))
    found = found or requirements(path, {"limits": limits, "requests": requests}, set())
    return found or _around_containers(path, spec, limits, requests)


def _around_containers(path: str, spec: Object, limits: Object, requests: Object) -> Causes:
    mains, inits = spec.get("containers") or [], spec.get("initContainers") or []
    together = pod_resources.combine(
        [_amounts(each, "requests") for each in mains],
        [(_amounts(each, "requests"), each.get("restartPolicy") == "Always") for each in inits],
    )
    found: Causes = []
    for name, amount in sorted(together.items()):
        if name in requests and amount > _nano(requests[name]):
            shown = quantity.of_nano(amount, quantity.parse(str(requests[name])).format)
            why = f"must be greater than or equal to aggregate container requests of {shown}"
            found.append(errors.invalid_value(f"{path}.requests[{name}]", str(requests[name]), why))
    above = path.removesuffix(".resources")
    for field, listed in (("containers", mains), ("initContainers", inits)):
        for index, each in enumerate(listed):
            for name, text in sorted(_amounts(each, "limits").items()):
                if name in limits and _nano(text) > _nano(limits[name]):
                    at = f"{above}.{field}[{index}].resources.limits[{name}]"
                    why = f"must be less than or equal to pod limits of {limits[name]}"
                    found.append(errors.invalid_value(at, str(text), why))
    return found


def _amounts(container: Object, field: str) -> Object:
    amounts: Object = (container.get("resources") or {}).get(field) or {}
    return amounts


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
    found = container_name(path, name) + amount_of(path, name, amount)
    if name.startswith(_HUGE):
        try:
            size = _nano(name.removeprefix(_HUGE))
        except ValueError:
            return found
        if size <= 0 or _nano(amount) % size:
            why = f"{amount} is not positive integer multiple of {name}"
            found.append(errors.invalid_value(path, str(amount), why))
    return found


def container_name(path: str, name: str) -> Causes:
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
