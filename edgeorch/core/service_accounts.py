"""What a new Pod gets from its ServiceAccount: a token to mount, and pull secrets.

Names and numbers as in Kubernetes' ServiceAccount admission plugin, which clients inside pods
(client-go's in-cluster configuration) rely on.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors
from edgeorch.model.kinds import Object

DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
ROOT_CA = "kube-root-ca.crt"
TOKEN_SECONDS = 3607
"""An hour, told from what a user asks for by its odd seconds."""
_MIRROR = "kubernetes.io/config.mirror"


def is_exempt(pod: Object) -> bool:
    """Mirror pods are made by a kubelet from files and have no account."""
    return _MIRROR in ((pod.get("metadata") or {}).get("annotations") or {})


def name_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("serviceAccountName") or DEFAULT)


def not_found(pod: Object) -> errors.StatusError:
    """The refusal of a pod whose account is not there."""
    meta = pod["metadata"]
    account = name_of(pod)
    why = (
        f"error looking up service account {meta.get('namespace', '')}/{account}: "
        f'serviceaccount "{account}" not found'
    )
    return errors.forbidden("pods", meta.get("generateName") or meta.get("name", ""), why)


def complete(pod: Object, account: Object, suffix: str) -> None:
    """Give `pod` what its account says, in place. `suffix`: the random end of a volume's name."""
    spec = pod["spec"]
    spec["serviceAccountName"] = spec["serviceAccount"] = account["metadata"]["name"]
    if _mounts_token(spec, account):
        _mount_token(spec, suffix)
    secrets = account.get("imagePullSecrets")
    if secrets and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": each.get("name", "")} for each in secrets]


def _mounts_token(spec: Object, account: Object) -> bool:
    """The pod's own wish comes before the account's."""
    for holder in (spec, account):
        wish = holder.get("automountServiceAccountToken")
        if wish is not None:
            return bool(wish)
    return True


def _mount_token(spec: Object, suffix: str) -> None:
    volumes = spec.get("volumes") or []
    # What has no name, or a strange one, is refused by validation, which comes after.
    names = [volume.get("name") or "" for volume in volumes]
    held = next((name for name in names if name.startswith(VOLUME_PREFIX)), None)
    name = held or VOLUME_PREFIX + suffix
    needed = False
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        needed = True
        mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
        container["volumeMounts"] = [*mounts, mount]
    if needed and held is None:
        spec["volumes"] = [*volumes, _token_volume(name)]


def _token_volume(name: str) -> dict[str, Any]:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}
