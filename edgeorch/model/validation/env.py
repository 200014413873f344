"""Rules of environment variables and of the downward API references that they and volumes use."""

from __future__ import annotations

from edgeorch.lib import quantity
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats
from edgeorch.model.validation.meta import Causes, invalid_each

_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
# What exists at all; which of them may be used depends on the place.
_KNOWN = (*_FIELDS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.host")
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_SIZES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def variables(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    for index, variable in enumerate(listed):
        at = f"{path}[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(errors.required(f"{at}.name"))
        else:
            found += invalid_each(f"{at}.name", name, formats.env_name(name))
        if variable.get("valueFrom") is not None:
            found += _value_from(f"{at}.valueFrom", variable)
    return found


def _value_from(path: str, variable: Object) -> Causes:
    source = variable["valueFrom"]
    found: Causes = []
    count = 0
    if source.get("fieldRef") is not None:
        count += 1
        found += object_field(f"{path}.fieldRef", source["fieldRef"], _FIELDS)
    if source.get("resourceFieldRef") is not None:
        count += 1
        found += resource_field(f"{path}.resourceFieldRef", source["resourceFieldRef"])
    for field in ("configMapKeyRef", "secretKeyRef"):
        if source.get(field) is not None:
            count += 1
            found += _key_ref(f"{path}.{field}", source[field])
    if source.get("fileKeyRef") is not None:
        count += 1
        found += _file_key(f"{path}.fileKeyRef", source["fileKeyRef"])
    if count == 0:
        why = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`,"
            " `secretKeyRef` or `fileKeyRef`"
        )
        found.append(errors.invalid_value(path, "", why))
    elif variable.get("value"):
        why = "may not be specified when `value` is not empty"
        found.append(errors.invalid_value(path, "", why))
    elif count > 1:
        why = "may not have more than one field specified at a time"
        found.append(errors.invalid_value(path, "", why))
    return found


def _key_ref(path: str, ref: Object) -> Causes:
    name, key = ref.get("name") or "", ref.get("key") or ""
    found = invalid_each(f"{path}.name", name, formats.dns1123_subdomain(name))
    if not key:
        return [*found, errors.required(f"{path}.key")]
    return found + invalid_each(f"{path}.key", key, formats.config_key(key))


def _file_key(path: str, ref: Object) -> Causes:
    found: Causes = []
    for field in ("volumeName", "path", "key"):
        if not ref.get(field):
            found.append(errors.required(f"{path}.{field}"))
    if ref.get("key"):
        found += invalid_each(f"{path}.key", ref["key"], formats.env_name(ref["key"]))
    if ref.get("path"):
        found += invalid_each(f"{path}.path", ref["path"], formats.descending_path(ref["path"]))
    return found


def sources(path: str, listed: list[Object]) -> Causes:
    """envFrom."""
    found: Causes = []
    for index, source in enumerate(listed):
        at = f"{path}[{index}]"
        prefix = source.get("prefix") or ""
        if prefix:
            found += invalid_each(f"{at}.prefix", prefix, formats.env_name(prefix))
        count = 0
        for field in ("configMapRef", "secretRef"):
            if source.get(field) is None:
                continue
            count += 1
            name = source[field].get("name") or ""
            if not name:
                found.append(errors.required(f"{at}.{field}.name"))
            else:
                reasons = formats.dns1123_subdomain(name)
                found += invalid_each(f"{at}.{field}.name", name, reasons)
        if count == 0:
            why = "must specify one of: `configMapRef` or `secretRef`"
            found.append(errors.invalid_value(path, "", why))
        elif count > 1:
            why = "may not have more than one field specified at a time"
            found.append(errors.invalid_value(path, "", why))
    return found


def object_field(path: str, ref: Object, allowed: tuple[str, ...]) -> Causes:
    """An ObjectFieldSelector; `metadata.labels['x']` picks one label."""
    version, field = ref.get("apiVersion") or "", ref.get("fieldPath") or ""
    if not version:
        return [errors.required(f"{path}.apiVersion")]
    if not field:
        return [errors.required(f"{path}.fieldPath")]
    base, bracket, rest = field.partition("['")
    subscripted = bool(bracket) and rest.endswith("']")
    if version != "v1":
        why = f"error converting fieldPath: unsupported pod version: {version}"
        return [errors.invalid_value(f"{path}.fieldPath", field, why)]
    if subscripted:
        if base not in ("metadata.annotations", "metadata.labels"):
            why = f"error converting fieldPath: field label does not support subscript: {field}"
            return [errors.invalid_value(f"{path}.fieldPath", field, why)]
        key = rest[:-2]
        shown = key.lower() if base == "metadata.annotations" else key
        return invalid_each(path, shown, formats.qualified_name(shown))
    if field not in _KNOWN:
        why = f"error converting fieldPath: field label not supported: {field}"
        return [errors.invalid_value(f"{path}.fieldPath", field, why)]
    if field not in allowed:
        return [errors.not_supported(f"{path}.fieldPath", field, allowed)]
    return []


def resource_field(path: str, ref: Object, in_volume: bool = False) -> Causes:
    found: Causes = []
    name = ref.get("resource") or ""
    if in_volume and not ref.get("containerName"):
        found.append(errors.required(f"{path}.containerName"))
    elif not name:
        found.append(errors.required(f"{path}.resource"))
    elif name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
        found.append(errors.not_supported(f"{path}.resource", name, _RESOURCES))
    return found + _divisor(path, name, str(ref.get("divisor") or "0"))


def _divisor(path: str, name: str, divisor: str) -> Causes:
    if quantity.parse(divisor).nano == 0:
        return []
    noun = ""
    allowed: tuple[str, ...] = _SIZES
    if name in ("limits.cpu", "requests.cpu"):
        noun, allowed = "cpu", ("1m", "1")
    elif name.endswith(".memory"):
        noun = "memory"
    elif name.endswith(".ephemeral-storage"):
        noun = "local ephemeral storage"
    elif name.startswith(_HUGE_PAGES):
        noun = "hugepages"
    if not noun or divisor in allowed:
        return []
    told = " and ".join(allowed) if noun == "cpu" else ", ".join(allowed)
    why = f"only divisor's values {told} are supported with the {noun} resource"
    return [errors.invalid_value(f"{path}.divisor", name, why)]
