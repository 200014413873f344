"""Rules of security contexts: ids, seccomp, AppArmor, sysctls, proc mounts."""

from __future__ import annotations

import re

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats
from edgeorch.model.validation.meta import Causes, invalid_each

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def container(path: str, context: Object | None, host_users: bool) -> Causes:
    if context is None:
        return []
    found = _ids(path, context, ("runAsUser", "runAsGroup"))
    mount = context.get("procMount")
    if mount is not None:
        at = f"{path}.procMount"
        if mount not in ("Default", "Unmasked"):
            found.append(errors.not_supported(at, mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            why = "`hostUsers` must be false to use `Unmasked`"
            found.append(errors.invalid_value(at, mount, why))
    found += _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        start = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            why = f"{start} `privileged` to true"
            found.append(errors.invalid_value(path, context, why))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or []):
            why = f"{start} `capabilities.Add` CAP_SYS_ADMIN"
            found.append(errors.invalid_value(path, context, why))
    return found + _app_armor(f"{path}.appArmorProfile", context.get("appArmorProfile"))


def pod(path: str, context: Object | None, spec: Object) -> Causes:
    if context is None:
        return []
    found = _ids(path, context, ("fsGroup", "runAsUser", "runAsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or []):
        at = f"{path}.supplementalGroups[{index}]"
        found += invalid_each(at, group, formats.user_or_group(group))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(errors.invalid_value(f"{path}.shareProcessNamespace", True, why))
    found += _sysctls(f"{path}.sysctls", context.get("sysctls") or [], spec)
    found += _optional(path, context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    found += _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    found += _app_armor(f"{path}.appArmorProfile", context.get("appArmorProfile"))
    found += _optional(path, context, "supplementalGroupsPolicy", ("Merge", "Strict"))
    return found + _optional(path, context, "seLinuxChangePolicy", ("MountOption", "Recursive"))


_NOT_OF_WINDOWS_PODS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy",
    "sysctls", "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)  # fmt: skip
_NOT_OF_WINDOWS_SPECS = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
_NOT_OF_WINDOWS_CONTAINERS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities",
    "readOnlyRootFilesystem", "privileged", "allowPrivilegeEscalation", "procMount", "runAsUser",
    "runAsGroup",
)  # fmt: skip


def of_system(path: str, spec: Object, system: str) -> Causes:
    """What a pod that names its operating system may not set: the other system's options."""
    contexts = [(f"{path}.securityContext", spec.get("securityContext") or {})]
    fields: list[tuple[str, ...]] = [_NOT_OF_WINDOWS_PODS]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, each in enumerate(spec.get(kind) or []):
            at = f"{path}.{kind}[{index}].securityContext"
            contexts.append((at, each.get("securityContext") or {}))
            fields.append(_NOT_OF_WINDOWS_CONTAINERS)
    if system == "linux":
        why = "windows options cannot be set for a linux pod"
        return [
            errors.forbidden_field(f"{at}.windowsOptions", why)
            for at, context in contexts
            if context.get("windowsOptions") is not None
        ]
    why = "cannot be set for a windows pod"
    found = [
        errors.forbidden_field(f"{at}.{field}", why)
        for (at, context), names in zip(contexts, fields, strict=True)
        for field in names
        if context.get(field) not in (None, [])
    ]
    refused = (field for field in _NOT_OF_WINDOWS_SPECS if spec.get(field) is not None)
    return found + [errors.forbidden_field(f"{path}.{field}", why) for field in refused]


def _optional(path: str, context: Object, field: str, supported: tuple[str, ...]) -> Causes:
    value = context.get(field)
    if value is None or value in supported:
        return []
    return [errors.not_supported(f"{path}.{field}", value, supported)]


def _ids(path: str, context: Object, fields: tuple[str, ...]) -> Causes:
    found: Causes = []
    for field in fields:
        value = context.get(field)
        if value is not None:
            found += invalid_each(f"{path}.{field}", value, formats.user_or_group(value))
    return found


def _sysctls(path: str, listed: list[Object], spec: Object) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, sysctl in enumerate(listed):
        at = f"{path}[{index}].name"
        name = sysctl.get("name") or ""
        if not name:
            found.append(errors.required(at))
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            why = f"must have at most 253 characters and match regex ^{_SYSCTL}$"
            found.append(errors.invalid_value(at, name, why))
        elif name in seen:
            found.append(errors.duplicate(at, name))
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            why = "may not be specified when 'hostNetwork' is true"
            found.append(errors.invalid_value(at, name, why))
        ipc = dotted == "kernel.sem" or dotted.startswith(_IPC_SYSCTLS)
        if spec.get("hostIPC") and ipc:
            why = "may not be specified when 'hostIPC' is true"
            found.append(errors.invalid_value(at, name, why))
        seen.add(name)
    return found


def _seccomp(path: str, profile: Object | None) -> Causes:
    if profile is None:
        return []
    found: Causes = []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        why = "type is required when seccompProfile is set"
        found.append(errors.required(f"{path}.type", why))
    elif kind not in _PROFILES:
        found.append(errors.not_supported(f"{path}.type", kind, _PROFILES))
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None:
            found.append(errors.required(at, "must be set when seccomp type is Localhost"))
        else:
            found += invalid_each(at, local, formats.descending_path(local))
    elif local is not None:
        why = "can only be set when seccomp type is Localhost"
        found.append(errors.invalid_value(at, profile, why))
    return found


def _app_armor(path: str, profile: Object | None) -> Causes:
    if profile is None:
        return []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None or not local.strip():
            return [errors.required(at, "must be set when AppArmor type is Localhost")]
        if local.strip() != local:
            return [errors.invalid_value(at, local, "must not be padded with whitespace")]
        return [errors.too_long(at, 4095)] if len(local) > 4095 else []
    if not kind:
        why = "type is required when appArmorProfile is set"
        return [errors.required(f"{path}.type", why)]
    if kind not in _PROFILES:
        return [errors.not_supported(f"{path}.type", kind, _PROFILES)]
    if local is not None:
        why = "can only be set when AppArmor type is Localhost"
        return [errors.invalid_value(at, local, why)]
    return []
