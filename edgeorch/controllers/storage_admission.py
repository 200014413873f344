"""What a new claim or volume gets, and which claims may grow.

As the admission plugins StorageObjectInUseProtection, DefaultStorageClass and
PersistentVolumeClaimResize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.core import storage_protection, volume_binding
from edgeorch.model import errors, kinds, storage
from edgeorch.model.validation import claims

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

_CLAIMS = kinds.PERSISTENT_VOLUME_CLAIM.resource
_NOT_BOUND = "Only bound persistent volume claims can be expanded"
_NOT_RESIZABLE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc"
    " must support resize"
)


class ClaimAdmission:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def admit(self, new: Object) -> None:
        _protect(new, storage_protection.OF_CLAIMS)
        annotations = new["metadata"].get("annotations") or {}
        spec = new.setdefault("spec", {})
        if spec.get("storageClassName") is not None or claims.CLASS_ANNOTATION in annotations:
            return
        name = volume_binding.default_class(_classes(self._objects))
        if name is not None:
            spec["storageClassName"] = name


class VolumeAdmission:
    async def admit(self, new: Object) -> None:
        _protect(new, storage_protection.OF_VOLUMES)


class ClaimExpansion:
    """An allocator of claims: it hands nothing out, but refuses what cannot be given."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def admit(self, new: Object, old: Object | None) -> None:
        if old is None:
            return
        asked, before = claims.storage_of(new), claims.storage_of(old)
        if asked is None or before is None or asked.nano <= before.nano:
            return
        name, spec = new["metadata"]["name"], old.get("spec") or {}
        if (old.get("status") or {}).get("phase") != "Bound":
            raise errors.forbidden(_CLAIMS, name, _NOT_BOUND)
        annotations = old["metadata"].get("annotations") or {}
        used = annotations.get(claims.CLASS_ANNOTATION, spec.get("storageClassName"))
        found = _classes(self._objects).get(used or "")
        if found is None or not found.allow_volume_expansion:
            raise errors.forbidden(_CLAIMS, name, _NOT_RESIZABLE)

    def settle(self, new: Object | None, old: Object | None) -> None:
        """Nothing was handed out."""


def _protect(new: Object, finalizer: str) -> None:
    meta = new["metadata"]
    held = meta.get("finalizers") or []
    if finalizer not in held:
        meta["finalizers"] = [*held, finalizer]


def _classes(objects: Objects) -> dict[str, storage.StorageClass]:
    listed = objects.list(kinds.STORAGE_CLASS.resource).items
    return {stored.name: stored.view(storage.StorageClass) for stored in listed}
