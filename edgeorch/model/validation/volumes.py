"""Rules of pod volumes: one source each, paths that stay inside, unique names.

The sources that edgeorch can mount are checked in full. Sources of network storage that no
edge device of this kind mounts (iSCSI, Ceph, cloud disks, ...) are checked for being the only one.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeorch.lib import quantity
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import claims, env, formats
from edgeorch.model.validation.meta import Causes, invalid_each, label_selector

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_DOWNWARD = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_ORDER = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
_REQUIRED = {
    "gitRepo": ("repository",),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "csi": ("driver",),
    "iscsi": ("targetPortal", "iqn"),
    "glusterfs": ("endpoints", "path"),
    "rbd": ("monitors", "image"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "image": ("reference",),
}


def volumes(path: str, listed: list[Object], pod_name: str) -> tuple[dict[str, Object], Causes]:
    """The usable volumes by name, and what is wrong with the others."""
    usable: dict[str, Object] = {}
    found: Causes = []
    own = {f"{pod_name}-{v.get('name')}" for v in listed if pod_name and v.get("ephemeral")}
    for index, volume in enumerate(listed):
        at = f"{path}[{index}]"
        name = volume.get("name") or ""
        mine = _source(at, volume)
        if not name:
            mine.append(errors.required(f"{at}.name"))
        else:
            mine += invalid_each(f"{at}.name", name, formats.dns1123_label(name))
        if name in usable:
            mine.append(errors.duplicate(f"{at}.name", name))
        if not mine:
            usable[name] = volume
        found += mine
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in own:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            where = f"{at}.persistentVolumeClaim.claimName"
            found.append(errors.invalid_value(where, claim, why))
    return usable, found


def _source(path: str, volume: Object) -> Causes:
    found: Causes = []
    chosen = False
    for kind in _ORDER:
        source = volume.get(kind)
        if source is None:
            continue
        at = f"{path}.{kind}"
        if chosen:
            found.append(errors.forbidden_field(at, "may not specify more than 1 volume type"))
            continue
        chosen = True
        for field in _REQUIRED.get(kind, ()):
            if not source.get(field):
                found.append(errors.required(f"{at}.{field}"))
        rule = _RULES.get(kind)
        if rule is not None:
            found += rule(at, source)
    if not chosen:
        found.append(errors.required(path, "must specify a volume type"))
    return found


def _empty_dir(path: str, source: Object) -> Causes:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(str(limit)).nano < 0:
        why = "SizeLimit field must be a valid resource quantity"
        return [errors.forbidden_field(f"{path}.sizeLimit", why)]
    return []


def host_path(path: str, source: Object) -> Causes:
    where = source.get("path")
    if not where:
        return [errors.required(f"{path}.path")]
    found = invalid_each(f"{path}.path", where, formats.no_backsteps(where))
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        found.append(errors.not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))
    return found


def _nfs(path: str, source: Object) -> Causes:
    where = source.get("path") or ""
    if where and not where.startswith("/"):
        return [errors.invalid_value(f"{path}.path", where, "must be an absolute path")]
    return []


def _secret(path: str, source: Object) -> Causes:
    found: Causes = []
    if not source.get("secretName"):
        found.append(errors.required(f"{path}.secretName"))
    return found + _mode(f"{path}.defaultMode", source) + _items(path, source)


def _config_map(path: str, source: Object) -> Causes:
    found: Causes = []
    if not source.get("name"):
        found.append(errors.required(f"{path}.name"))
    return found + _mode(f"{path}.defaultMode", source) + _items(path, source)


def _mode(path: str, source: Object) -> Causes:
    mode = source.get(path.rpartition(".")[2])
    if mode is not None and not 0 <= mode <= 0o777:
        return [errors.invalid_value(path, mode, _MODE)]
    return []


def _items(path: str, source: Object) -> Causes:
    found: Causes = []
    for index, item in enumerate(source.get("items") or []):
        found += _key_to_path(f"{path}.items[{index}]", item)
    return found


def _key_to_path(path: str, item: Object) -> Causes:
    found: Causes = []
    if not item.get("key"):
        found.append(errors.required(f"{path}.key"))
    target = item.get("path") or ""
    if not target:
        found.append(errors.required(f"{path}.path"))
    found += invalid_each(f"{path}.path", target, formats.non_reserved_path(target))
    return found + _mode(f"{path}.mode", item)


def _downward(path: str, source: Object) -> Causes:
    found = _mode(f"{path}.defaultMode", source)
    for item in source.get("items") or []:
        found += _downward_file(path, item)
    return found


def _downward_file(path: str, item: Object) -> Causes:
    """The path names no index, as in Kubernetes."""
    found: Causes = []
    target = item.get("path") or ""
    if not target:
        found.append(errors.required(f"{path}.path"))
    found += invalid_each(f"{path}.path", target, formats.non_reserved_path(target))
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        found += env.object_field(f"{path}.fieldRef", field, _DOWNWARD)
        if resource is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(errors.invalid_value(path, "resource", why))
    elif resource is not None:
        found += env.resource_field(f"{path}.resourceFieldRef", resource, in_volume=True)
    else:
        found.append(errors.required(path, "one of fieldRef and resourceFieldRef is required"))
    return found + _mode(f"{path}.mode", item)


def _projected(path: str, source: Object) -> Causes:
    found = _mode(f"{path}.defaultMode", source)
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or []):
        at = f"{path}.sources[{index}]"
        for kind in ("secret", "configMap"):
            if projection.get(kind) is not None:
                found += _projected_keys(path, f"{at}.{kind}", projection[kind], taken)
        for item in (projection.get("downwardAPI") or {}).get("items") or []:
            found += _downward_file(f"{at}.downwardAPI", item)
            found += _claim_path(path, item.get("path") or "", item.get("path") or "", taken)
        if projection.get("serviceAccountToken") is not None:
            token = projection["serviceAccountToken"]
            found += _token(path, f"{at}.serviceAccountToken", token)
        if projection.get("clusterTrustBundle") is not None:
            bundle = projection["clusterTrustBundle"]
            found += _trust_bundle(path, f"{at}.clusterTrustBundle", bundle, taken)
        if sum(1 for value in projection.values() if value is not None) > 1:
            why = "may not specify more than 1 volume type per source"
            found.append(errors.forbidden_field(at, why))
    return found


def _projected_keys(volume: str, path: str, source: Object, taken: set[str]) -> Causes:
    found: Causes = []
    name = source.get("name") or ""
    if not name:
        found.append(errors.required(f"{path}.name"))
    for index, item in enumerate(source.get("items") or []):
        found += _key_to_path(f"{path}.items[{index}]", item)
        found += _claim_path(volume, item.get("path") or "", name, taken)
    return found


def _claim_path(volume: str, target: str, shown: str, taken: set[str]) -> Causes:
    if target and target in taken:
        return [errors.invalid_value(volume, shown, "conflicting duplicate paths")]
    taken.add(target)
    return []


def _token(volume: str, path: str, token: Object) -> Causes:
    found: Causes = []
    seconds = token.get("expirationSeconds") or 0
    if seconds < 600:
        why = "may not specify a duration less than 10 minutes"
        found.append(errors.invalid_value(f"{path}.expirationSeconds", seconds, why))
    if seconds > 1 << 32:
        why = "may not specify a duration larger than 2^32 seconds"
        found.append(errors.invalid_value(f"{path}.expirationSeconds", seconds, why))
    target = token.get("path") or ""
    if not target:
        found.append(errors.required(f"{volume}.path"))
    return found + invalid_each(f"{volume}.path", target, formats.non_reserved_path(target))


def _trust_bundle(volume: str, path: str, bundle: Object, taken: set[str]) -> Causes:
    found: Causes = []
    if bundle.get("name") is not None and bundle.get("signerName") is not None:
        why = "only one of name and signerName may be used"
        found.append(errors.invalid_value(path, bundle, why))
    elif bundle.get("name") is None and bundle.get("signerName") is None:
        found.append(errors.required(path, "either name or signerName must be specified"))
    elif bundle.get("signerName") is not None:
        found += label_selector(f"{path}.labelSelector", bundle.get("labelSelector"))
    target = bundle.get("path") or ""
    if not target:
        found.append(errors.required(f"{path}.path"))
    found += invalid_each(f"{path}.path", target, formats.non_reserved_path(target))
    return found + _claim_path(volume, target, target, taken)


def _ephemeral(path: str, source: Object) -> Causes:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [errors.required(f"{path}.volumeClaimTemplate")]
    return claims.claim_template(f"{path}.volumeClaimTemplate", template)


_RULES: dict[str, Callable[[str, Object], Causes]] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "nfs": _nfs,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "ephemeral": _ephemeral,
}
