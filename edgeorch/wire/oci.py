"""OCI images as data: media types, descriptors, manifests, and which platform fits.

Sources: OCI image-spec (descriptor.md, manifest.md, image-index.md), Docker image manifest v2
schema 2, and containerd's platform matching (arm variants fall back to older ones).
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from edgeorch.lib import json

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


class ManifestError(Exception):
    """Not an image that can run here; the text says why."""


class Platform(Struct, frozen=True):
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Struct, frozen=True):
    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    """Where else a layer may be fetched that a registry may not pass on."""


class Manifest(Struct, frozen=True):
    """One image for one platform: its configuration and layers, base first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


# uname's machine to OCI's architecture and variant.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
    "riscv64": ("riscv64", ""),
    "i686": ("386", ""),
}
# What else a machine runs, best first.
_COMPATIBLE = {
    ("arm64", "v8"): (("arm64", "v8"), ("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
    ("arm", "v8"): (("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
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
        urls = tuple(str(url) for url in value.get("urls") or ())
        found = Descriptor(value.get("mediaType") or "", value["digest"], value["size"], urls)
    except (AttributeError, KeyError, TypeError) as error:
        raise ManifestError(f"malformed descriptor: {error!r}") from error
    # A bool is an int to Python, and a negative size is one to JSON.
    sane = type(found.size) is int and found.size >= 0
    if not sane or not isinstance(found.digest, str) or not isinstance(found.media_type, str):
        raise ManifestError(f"malformed descriptor: {value!r}")
    return found


def is_index(raw: bytes, media_type: str) -> bool:
    """By media type; a document without one is told by its fields."""
    if media_type in INDEXES or media_type in MANIFESTS:
        return media_type in INDEXES
    return "manifests" in _document(raw)


def own_media_type(raw: bytes) -> str:
    """As the document says of itself, or as its fields show. Raises ManifestError."""
    said = _document(raw).get("mediaType")
    if said in INDEXES or said in MANIFESTS:
        return str(said)
    return OCI_INDEX if "manifests" in _document(raw) else OCI_MANIFEST


def manifest(raw: bytes) -> Manifest:
    """Raises ManifestError."""
    document = _document(raw)
    if document.get("schemaVersion") == 1:
        raise ManifestError(
            "Docker image manifest schema 1 is not supported: push the image anew with a client "
            "from this decade"
        )
    if "config" not in document or not isinstance(document.get("layers"), list):
        raise ManifestError("not an image manifest: it has no config and layers")
    layers = tuple(descriptor(layer) for layer in document["layers"])
    config = descriptor(document["config"])
    if config.media_type not in _CONFIGS:
        raise ManifestError(
            f"not a container image but an artifact of another kind ({config.media_type})"
        )
    for layer in layers:
        applied_as(layer.media_type)
    return Manifest(config, layers)


_CONFIGS = frozenset(
    {OCI_CONFIG, "application/vnd.docker.container.image.v1+json", "application/octet-stream", ""}
)
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)"
    r"(?:[.+](gzip|zstd))?"
)


def applied_as(media_type: str) -> str:
    """The layer type to tell a differ, which need not know every name for the same bytes.

    Raises ManifestError for what no layer can be.
    """
    found = _LAYER.fullmatch(media_type or _DOCKER_LAYER)
    if found is None:
        raise ManifestError(f"unsupported layer type {media_type!r}")
    if found[1]:
        return f"{OCI_LAYER}+{found[1]}"
    # By Docker's plain name a differ finds out itself what it has before it.
    return OCI_LAYER if media_type.startswith("application/vnd.oci.") else _DOCKER_LAYER


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
        if _is_attestation(entry):
            continue
        if platform is None or platform.os == host.os:
            key = (platform.architecture, platform.variant) if platform else wanted[0]
            offered.setdefault(key, descriptor(entry))
    for key in wanted:
        if key in offered:
            return offered[key]
    real = [entry for entry in entries if not _is_attestation(entry)]
    told = ", ".join(str(found) for entry in real if (found := _platform(entry))) or "none"
    raise ManifestError(f"no match for platform {host} in manifest (it has: {told})")


def _is_attestation(entry: Any) -> bool:
    """What buildkit puts beside an image: who built it, and of what."""
    notes = entry.get("annotations") if isinstance(entry, dict) else None
    kind = notes.get("vnd.docker.reference.type") if isinstance(notes, dict) else None
    return kind == "attestation-manifest"


def _platform(entry: Any) -> Platform | None:
    found = entry.get("platform") if isinstance(entry, dict) else None
    if not isinstance(found, dict):
        return None
    architecture = str(found.get("architecture", ""))
    variant = str(found.get("variant", "") or _DEFAULT_VARIANT.get(architecture, ""))
    if (architecture, variant) == ("amd64", "v1"):
        variant = ""
    if architecture == "arm" and variant.isdecimal():
        variant = f"v{variant}"
    return Platform(str(found.get("os", "linux")), architecture, variant)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found = json.decode(raw)
    except json.DecodeError as error:
        raise ManifestError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ManifestError("not a JSON object")
    return found
