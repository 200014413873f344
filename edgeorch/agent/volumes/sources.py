"""What a pod's volumes are of, and which objects they and its environment name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeorch.model import kinds, views

Reference = tuple[str, str]
"""Resource and name, in the pod's namespace."""

ON_TMPFS = ("secret", "projected", "downwardAPI")
MADE = ("configMap", *ON_TMPFS)
"""Kinds whose files are made from objects; containers only read them."""
CLAIMED = ("persistentVolumeClaim", "ephemeral")
"""Kinds whose data belongs to a claim."""


def kind_of(volume: Mapping[str, Any]) -> str:
    """The name of the volume's source, "" without one."""
    return next((key for key, value in volume.items() if key != "name" and value is not None), "")


def claim_name(pod: views.Pod, volume: Mapping[str, Any]) -> str:
    """Of a volume of one of the kinds in CLAIMED."""
    source = volume.get("persistentVolumeClaim")
    if source is not None:
        return str(source.get("claimName", ""))
    return f"{pod.metadata.name}-{volume['name']}"


def references(pod: views.Pod) -> set[Reference]:
    """Objects whose change concerns the pod: of its volumes and of its environment."""
    found = {ref for volume in pod.spec.volumes for ref in of_volume(volume)}
    found |= {
        (kinds.PERSISTENT_VOLUME_CLAIM.resource, claim_name(pod, volume))
        for volume in pod.spec.volumes
        if kind_of(volume) in CLAIMED
    }
    spec = pod.spec
    for container in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers):
        for source in container.env_from:
            found |= set(_of_keys(source))
        for var in container.env:
            found |= set(_of_keys(var.value_from or {}))
    found |= {("secrets", secret.name) for secret in pod.spec.image_pull_secrets}
    return found


def of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    if volume.get("configMap"):
        yield "configmaps", volume["configMap"].get("name", "")
    if volume.get("secret"):
        yield "secrets", volume["secret"].get("secretName", "")
    for part in (volume.get("projected") or {}).get("sources") or []:
        if part.get("configMap"):
            yield "configmaps", part["configMap"].get("name", "")
        if part.get("secret"):
            yield "secrets", part["secret"].get("name", "")


def _of_keys(source: Mapping[str, Any]) -> Iterator[Reference]:
    for key, resource in (
        ("configMapRef", "configmaps"),
        ("secretRef", "secrets"),
        ("configMapKeyRef", "configmaps"),
        ("secretKeyRef", "secrets"),
    ):
        if source.get(key):
            yield resource, source[key].get("name", "")
