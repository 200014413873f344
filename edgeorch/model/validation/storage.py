"""Rules of PersistentVolumes and StorageClasses.

After pkg/apis/core/validation and pkg/apis/storage/validation. Sources that a device cannot mount
are checked for being the only one and for what they cannot do without.
"""

from __future__ import annotations

import posixpath

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import claims, formats, meta, scheduling, volumes
from edgeorch.model.validation.meta import Causes, invalid_each

_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_SOURCES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
_NEEDED = {
    "csi": ("driver", "volumeHandle"),
    "nfs": ("server", "path"),
    "local": ("path",),
}
_MAX_PARAMETERS = 512
_MAX_PARAMETERS_SIZE = 256 * 1024


# --- volumes ------------------------------------------------------------------------------------


def volume(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(errors.required("spec.accessModes"))
    found += claims.access_modes("spec.accessModes", modes) + _capacity(spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _RECLAIM:
        path = "spec.persistentVolumeReclaimPolicy"
        found.append(errors.not_supported(path, policy, _RECLAIM))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        found += _node_affinity(affinity)
    found += _source(spec, bound_to_node=bool((affinity or {}).get("required")))
    host_path = (spec.get("hostPath") or {}).get("path") or ""
    if host_path and posixpath.normpath(host_path) == "/" and policy == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(errors.forbidden_field("spec.persistentVolumeReclaimPolicy", why))
    found += claims.class_name("spec.storageClassName", spec.get("storageClassName"))
    found += claims.volume_mode("spec.volumeMode", spec.get("volumeMode"))
    path = "spec.volumeAttributesClassName"
    return found + claims.class_name(path, spec.get("volumeAttributesClassName"))


def _capacity(capacity: Object) -> Causes:
    found: Causes = []
    path = "spec.capacity"
    if not capacity:
        found.append(errors.required(path))
    if "storage" not in capacity or len(capacity) > 1:
        found.append(errors.not_supported(path, capacity, ("storage",)))
    for name, amount in sorted(capacity.items()):
        found += claims.positive(f"{path}[{name}]", amount)
    return found


def _node_affinity(affinity: Object) -> Causes:
    path = "spec.nodeAffinity.required"
    required = affinity.get("required")
    if required is None:
        return [errors.required(path, "must specify required node constraints")]
    return scheduling.node_selector(path, required)


def _source(spec: Object, *, bound_to_node: bool) -> Causes:
    found: Causes = []
    chosen = False
    for kind in _SOURCES:
        source = spec.get(kind)
        if source is None:
            continue
        path = f"spec.{kind}"
        if chosen:
            why = "may not specify more than 1 volume type"
            found.append(errors.forbidden_field(path, why))
            continue
        chosen = True
        for field in _NEEDED.get(kind, ()):
            if not source.get(field):
                found.append(errors.required(f"{path}.{field}"))
        if kind == "hostPath":
            found += volumes.host_path(path, source)
        if kind == "local":
            where = source.get("path") or ""
            found += invalid_each(f"{path}.path", where, formats.no_backsteps(where))
            if not bound_to_node:
                why = "Local volume requires node affinity"
                found.append(errors.required("spec.nodeAffinity", why))
    if not chosen:
        found.append(errors.required("spec", "must specify a volume type"))
    return found


def volume_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + volume(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if any((spec.get(kind) or None) != (before.get(kind) or None) for kind in _SOURCES):
        why = "spec.persistentvolumesource is immutable after creation"
        found.append(errors.forbidden_field("spec.persistentvolumesource", why))
    found += meta.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None:
        at = "nodeAffinity"
        found += meta.immutable(at, spec.get("nodeAffinity"), before.get("nodeAffinity"))
    return found


# --- classes ------------------------------------------------------------------------------------


def storage_class(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        found.append(errors.required("provisioner"))
    else:
        found += invalid_each(
            "provisioner", provisioner, formats.qualified_name(provisioner.lower())
        )
    found += _parameters(obj.get("parameters") or {})
    policy = obj.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        found.append(errors.not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = obj.get("volumeBindingMode")
    if not mode:
        found.append(errors.required("volumeBindingMode"))
    elif mode not in _BINDING:
        found.append(errors.not_supported("volumeBindingMode", mode, _BINDING))
    for index, term in enumerate(obj.get("allowedTopologies") or []):
        for number, rule in enumerate(term.get("matchLabelExpressions") or []):
            at = f"allowedTopologies[{index}].matchLabelExpressions[{number}]"
            key = rule.get("key") or ""
            found += invalid_each(f"{at}.key", key, formats.qualified_name(key))
            if not rule.get("values"):
                found.append(errors.required(f"{at}.values"))
    return found


def _parameters(given: dict[str, str]) -> Causes:
    if len(given) > _MAX_PARAMETERS:
        return [errors.too_long("parameters", _MAX_PARAMETERS)]
    found: Causes = []
    if "" in given:
        found.append(errors.invalid_value("parameters", "", "field can not be empty."))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
    if size > _MAX_PARAMETERS_SIZE:
        found.append(errors.too_long("parameters", _MAX_PARAMETERS_SIZE))
    return found


def storage_class_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + storage_class(new)
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(field) or None) != (old.get(field) or None):
            found.append(errors.forbidden_field(field, f"updates to {field} are forbidden."))
    path = "volumeBindingMode"
    return found + meta.immutable(path, new.get(path), old.get(path))
