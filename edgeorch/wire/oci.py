"""OCI images as data: media types, descriptors, manifests, and which platform fits.

Sources: OCI image-spec (descriptor.md, manifest.md, image-index.md), Docker image manifest v2
schema 2, and containerd's platform matching (arm variants fall back to older ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeorch.lib import json

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


class ManifestError(Exception):
    """Not an image that can run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform: its configuration and layers, base first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


# uname's machine to OCI's architecture and variant.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "riscv64": ("riscv64", ""),
    "i686": ("386", ""),
}
# What else a machine runs, best first.
_COMPATIBLE = {
    ("arm64", "v8"): (("arm64", "v8"), ("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
    ("arm", "v7"): (("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
    ("arm", "v6"): (("arm", "v6"), ("arm", "v5")),
    ("amd64", ""): (("amd64", ""), ("386", "")),
}
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7"}


def host_platform(machine: str) -> Platform:
    """For what uname(2) calls this machine."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def descriptor(value: Any) -> Descriptor:
    """Raises ManifestError."""
    try:
        return Descriptor(value.get("mediaType", ""), value["digest"], value["size"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ManifestError(f"malformed descriptor: {error!r}") from error


def is_index(raw: bytes, media_type: str) -> bool:
    """By media type; a document without one is told by its fields."""
    if media_type in INDEXES or media_type in MANIFESTS:
        return media_type in INDEXES
    return "manifests" in _document(raw)


def manifest(raw: bytes) -> Manifest:
    """Raises ManifestError."""
    document = _document(raw)
    if document.get("schemaVersion") == 1:
        raise ManifestError("Docker image manifest schema 1 is not supported: push the image anew")
    if "config" not in document or not isinstance(document.get("layers"), list):
        raise ManifestError("not an image manifest: it has no config and layers")
    layers = tuple(descriptor(layer) for layer in document["layers"])
    return Manifest(descriptor(document["config"]), layers)


def select(raw: bytes, host: Platform) -> Descriptor:
    """The manifest of an index that fits `host` best. Raises ManifestError naming what there is."""
    entries = _document(raw).get("manifests")
    if not isinstance(entries, list):
        raise ManifestError("not an image index: it has no manifests")
    wanted = _COMPATIBLE.get(
        (host.architecture, host.variant), ((host.architecture, host.variant),)
    )
    offered: dict[tuple[str, str], Descriptor] = {}
    for entry in entries:
        platform = _platform(entry)
        if platform is None or platform.os == host.os:
            key = (platform.architecture, platform.variant) if platform else wanted[0]
            offered.setdefault(key, descriptor(entry))
    for key in wanted:
        if key in offered:
            return offered[key]
    told = ", ".join(str(found) for entry in entries if (found := _platform(entry))) or "none"
    raise ManifestError(f"no match for platform {host} in manifest (it has: {told})")


def _platform(entry: Any) -> Platform | None:
    found = entry.get("platform") if isinstance(entry, dict) else None
    if not isinstance(found, dict):
        return None
    architecture = str(found.get("architecture", ""))
    variant = str(found.get("variant", "") or _DEFAULT_VARIANT.get(architecture, ""))
    return Platform(str(found.get("os", "linux")), architecture, variant)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.decode(raw)
    except json.DecodeError as error:
        raise ManifestError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ManifestError("not a JSON object")
    return found
