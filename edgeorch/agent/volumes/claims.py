"""persistentVolumeClaim and generic ephemeral volumes: where the data lies.

Nothing is mounted between the data and the container, so that nothing of the pod ever leads to it:
taking a pod down cannot touch what it has stored.
"""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.agent.volumes import host_paths, sources
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import volume_binding
from edgeorch.model import kinds, storage, views

if TYPE_CHECKING:
    from edgeorch.store.objects import Objects

_CLAIMS, _VOLUMES = kinds.PERSISTENT_VOLUME_CLAIM.resource, kinds.PERSISTENT_VOLUME.resource


class Place(Struct, frozen=True):
    path: pathlib.Path
    volume: str
    """Name of the PersistentVolume."""
    host_type: str | None = None
    """Of a hostPath; None: a local volume, to which fsGroup applies."""


class Claims:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def place(self, pod: views.Pod, volume: Mapping[str, Any]) -> Place:
        """Raises VolumeError while there is none."""
        namespace, name = pod.metadata.namespace, sources.claim_name(pod, volume)
        failed = f"error processing PVC {namespace}/{name}:"
        stored = self._objects.find(_CLAIMS, namespace, name)
        if stored is None:
            raise VolumeError(f'{failed} persistentvolumeclaim "{name}" not found', whole=True)
        claim = stored.view(storage.PersistentVolumeClaim)
        if not volume_binding.is_bound(claim):
            raise VolumeError(f"{failed} PVC is not bound", whole=True)
        held = self._objects.find(_VOLUMES, "", claim.spec.volume_name)
        found = held.view(storage.PersistentVolume) if held is not None else None
        ref = found.spec.claim_ref if found is not None else None
        if found is None or ref is None or ref.uid != claim.metadata.uid:
            told = f"{failed} its volume {claim.spec.volume_name} is lost or another claim's"
            raise VolumeError(told, whole=True)
        return _place(found)

    def bound_to(self, pod: views.Pod, volume: Mapping[str, Any]) -> tuple[str, str]:
        """Uid of the claim and name of its volume, for comparing."""
        name = sources.claim_name(pod, volume)
        stored = self._objects.find(_CLAIMS, pod.metadata.namespace, name)
        if stored is None:
            return "", ""
        claim = stored.view(storage.PersistentVolumeClaim)
        return claim.metadata.uid, claim.spec.volume_name


def _place(volume: storage.PersistentVolume) -> Place:
    name, spec = volume.metadata.name, volume.spec
    if spec.volume_mode == "Block":
        raise VolumeError(
            f'MapVolume.SetUp failed for volume "{name}" : volumes of mode Block are not supported'
            " on this node",
            whole=True,
        )
    if spec.local is not None:
        return Place(pathlib.Path(spec.local.path), name)
    if spec.host_path is not None:
        return Place(pathlib.Path(spec.host_path.path), name, spec.host_path.type)
    raise VolumeError(
        f'MountVolume.SetUp failed for volume "{name}" : its kind of PersistentVolume is not'
        " supported on this node: use local or hostPath",
        whole=True,
    )


def check(place: Place) -> None:
    """Raises VolumeError when the data cannot be had. Blocks."""
    if place.host_type is not None:
        host_paths.prepare(place.path, place.host_type)
        return
    failed = f'MountVolume.NewMounter initialization failed for volume "{place.volume}" :'
    try:
        mode = place.path.stat().st_mode
    except FileNotFoundError:
        raise VolumeError(f'{failed} path "{place.path}" does not exist', whole=True) from None
    if stat.S_ISBLK(mode):
        told = f'{failed} "{place.path}" is a block device: mount it, then name its directory'
        raise VolumeError(told, whole=True)
