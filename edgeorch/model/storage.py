"""PersistentVolumes, PersistentVolumeClaims, StorageClasses, and the volumes of pods."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from msgspec import field

from edgeorch.model.views import (
    Condition,
    LabelSelector,
    Meta,
    NodeSelector,
    Quantities,
    Resources,
    View,
)


class ClaimSpec(View, frozen=True, kw_only=True):
    access_modes: list[str] = []
    selector: LabelSelector | None = None
    resources: Resources = Resources()
    volume_name: str = ""
    storage_class_name: str | None = None
    """None: of the default class; "": of none."""
    volume_mode: str = "Filesystem"


class ClaimStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    access_modes: list[str] = []
    capacity: Quantities = {}
    conditions: list[Condition] = []


class PersistentVolumeClaim(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()
    api_version: str = ""
    kind: str = ""


class ClaimReference(View, frozen=True, kw_only=True):
    """Of a volume: the claim that has it or is to have it."""

    kind: str = ""
    api_version: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    """"" while the claim has not been seen: whoever wrote the volume named it."""
    resource_version: str = ""


class HostPathSource(View, frozen=True, kw_only=True):
    path: str = ""
    type: str = ""


class LocalSource(View, frozen=True, kw_only=True):
    path: str = ""


class VolumeNodeAffinity(View, frozen=True, kw_only=True):
    required: NodeSelector | None = None


class VolumeSpec(View, frozen=True, kw_only=True):
    capacity: Quantities = {}
    access_modes: list[str] = []
    claim_ref: ClaimReference | None = None
    persistent_volume_reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    volume_mode: str = "Filesystem"
    node_affinity: VolumeNodeAffinity | None = None
    local: LocalSource | None = None
    host_path: HostPathSource | None = None


class VolumeStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    message: str = ""
    reason: str = ""


class PersistentVolume(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()


class TopologyRule(View, frozen=True, kw_only=True):
    key: str = ""
    values: list[str] = []


class TopologyTerm(View, frozen=True, kw_only=True):
    match_label_expressions: list[TopologyRule] = []


class StorageClass(View, frozen=True, kw_only=True):
    metadata: Meta
    provisioner: str = ""
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"
    allow_volume_expansion: bool = False
    allowed_topologies: list[TopologyTerm] = []


class PodVolume(View, frozen=True, kw_only=True):
    """The kinds of volumes that the device can mount; pods of others wait, and are told why."""

    name: str = ""
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    config_map: dict[str, Any] | None = None
    secret: dict[str, Any] | None = None
    projected: dict[str, Any] | None = None
    downward_api: dict[str, Any] | None = field(name="downwardAPI", default=None)
    persistent_volume_claim: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
