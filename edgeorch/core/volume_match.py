"""Which PersistentVolume a claim may have: the smallest that is as the claim asks.

As FindMatchingVolume of component-helpers/storage/volume. A volume that names the claim beforehand
goes before all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from edgeorch.core import node_affinity
from edgeorch.lib import json, quantity
from edgeorch.model import selectors, storage, views

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def class_of_claim(claim: storage.PersistentVolumeClaim) -> str | None:
    """None: of the default class, "": of none."""
    annotated = claim.metadata.annotations.get(CLASS_ANNOTATION)
    return annotated if annotated is not None else claim.spec.storage_class_name


def class_of_volume(volume: storage.PersistentVolume) -> str:
    return volume.metadata.annotations.get(CLASS_ANNOTATION, volume.spec.storage_class_name)


def names(volume: storage.PersistentVolume, claim: storage.PersistentVolumeClaim) -> bool:
    """Whether the volume is kept for this very claim."""
    ref, meta = volume.spec.claim_ref, claim.metadata
    if ref is None or (ref.namespace, ref.name) != (meta.namespace, meta.name):
        return False
    return ref.uid in ("", meta.uid)


def find(
    claim: storage.PersistentVolumeClaim,
    volumes: Iterable[storage.PersistentVolume],
    node: views.Node | None,
    taken: Collection[str] = (),
    *,
    only_named: bool = False,
) -> storage.PersistentVolume | None:
    """`node`: where it has to be usable, None: anywhere. `taken`: names of those given away.
    `only_named`: none but one that names the claim."""
    best: tuple[int, str] | None = None
    found = None
    for volume in volumes:
        if volume.metadata.deletion_timestamp or volume.metadata.name in taken:
            continue
        if volume.spec.volume_mode != claim.spec.volume_mode or is_smaller(volume, claim):
            continue
        if names(volume, claim):
            return volume
        if only_named or volume.spec.claim_ref is not None or volume.status.phase == "Failed":
            continue
        if node is not None and not reaches(volume, node):
            continue
        if not _selected(claim, volume) or why_not(claim, volume):
            continue
        rank = _size(volume.spec.capacity), volume.metadata.name
        if best is None or rank < best:
            best, found = rank, volume
    return found


def why_not(claim: storage.PersistentVolumeClaim, volume: storage.PersistentVolume) -> str:
    """Why a claim cannot have a volume that it asks for by name; "" when it can."""
    if volume.spec.volume_mode != claim.spec.volume_mode:
        return "incompatible volumeMode"
    if is_smaller(volume, claim):
        return "requested PV is too small"
    if class_of_volume(volume) != (class_of_claim(claim) or ""):
        return "storageClassName does not match"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return ""


def reaches(volume: storage.PersistentVolume, node: views.Node) -> bool:
    affinity = volume.spec.node_affinity
    required = affinity.required if affinity is not None else None
    return required is None or node_affinity.selects(required, node)


def is_smaller(volume: storage.PersistentVolume, claim: storage.PersistentVolumeClaim) -> bool:
    return _size(volume.spec.capacity) < _size(claim.spec.resources.requests)


def _size(amounts: views.Quantities) -> int:
    """In nano units."""
    return quantity.parse(amounts.get("storage", "0")).nano


def _selected(claim: storage.PersistentVolumeClaim, volume: storage.PersistentVolume) -> bool:
    if claim.spec.selector is None:
        return True
    match = selectors.label_selector(json.to_builtins(claim.spec.selector))
    return match(volume.metadata.labels)
