"""Claims and volumes that are in use outlive their deletion.

As pkg/controller/volume/pvcprotection and pvprotection: a finalizer that every one of them has from
the start is taken away when nothing uses it any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.core import local_path, pod_facts
from edgeorch.model import storage, views
from edgeorch.model.kinds import Object

OF_CLAIMS = "kubernetes.io/pvc-protection"
OF_VOLUMES = "kubernetes.io/pv-protection"


def protected(obj: Object, finalizer: str) -> Object:
    meta = obj["metadata"]
    held = meta.get("finalizers") or []
    if finalizer in held or meta.get("deletionTimestamp"):
        return obj
    return {**obj, "metadata": {**meta, "finalizers": [*held, finalizer]}}


def lacks(meta: views.Meta, finalizer: str) -> bool:
    """Written before there was protection."""
    return not meta.deletion_timestamp and finalizer not in meta.finalizers


def claim_may_go(claim: storage.PersistentVolumeClaim, users: Iterable[pod_facts.PodFacts]) -> bool:
    """`users`: pods that name it. One without a node does not get one any more."""
    meta = claim.metadata
    if not meta.deletion_timestamp or OF_CLAIMS not in meta.finalizers:
        return False
    return not any(pod.spec.node_name for pod in users)


def volume_may_go(volume: storage.PersistentVolume, root: str) -> bool:
    """`root`: of the directories of our own volumes, whose data goes before them."""
    meta, spec = volume.metadata, volume.spec
    if not meta.deletion_timestamp or OF_VOLUMES not in meta.finalizers:
        return False
    if volume.status.phase == "Bound":
        return False
    claimed = spec.claim_ref is not None and spec.claim_ref.uid
    is_reclaimed = spec.persistent_volume_reclaim_policy == "Delete" and claimed
    return not (is_reclaimed and local_path.owns(volume, root))
