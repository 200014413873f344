"""Image archives into the content store: OCI layouts and `docker save`, in a tar, maybe packed.

Streamed: no layer is ever in memory. Everything is written under a lease and in an order that
leaves nothing half-usable behind: layers, configuration, manifests (each labelled with what it
refers to), snapshots, and last the names. BadArchive names the file and what is wrong with it.

Sources: OCI image-layout spec; the docker-save format as moby writes it (manifest.json).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field

from edgeorch.lib import json
from edgeorch.runtime import client, content, errors, images, leases, tarball, unpack
from edgeorch.wire import image_ref, oci

NAME_ANNOTATION = "io.containerd.image.name"
REF_ANNOTATION = "org.opencontainers.image.ref.name"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
JSON_LIMIT = 8 * 1024 * 1024


class Blob(Struct, frozen=True):
    """Bytes to write: from a member of the archive, or made here (`data`)."""

    descriptor: oci.Descriptor
    member: str = ""
    data: bytes = b""
    labels: dict[str, str] = field(default_factory=dict)


class Found(Struct, frozen=True):
    """One image of an archive: its names, what they point at, the blobs in writing order."""

    names: list[str]
    target: oci.Descriptor
    manifest: images.Manifest
    diff_ids: list[str]
    blobs: list[Blob]


class Members(Protocol):
    """What is read of an archive; a `tarball.Tarball` is one."""

    def __contains__(self, name: str) -> bool: ...

    def size(self, name: str) -> int: ...

    def read(self, name: str, limit: int) -> bytes: ...

    def member(self, name: str) -> AbstractContextManager[tarball.MemberReader]: ...


class Archives:
    def __init__(
        self, containerd: client.Client, *, snapshotter: str = "overlayfs", work_dir: Path
    ) -> None:
        """`work_dir` takes the plain copy of a compressed archive while it is imported."""
        self._client = containerd
        self._snapshotter = snapshotter
        self._work_dir = work_dir

    async def import_archive(self, path: Path, *, name: str = "") -> list[str]:
        """The normalised names of the images imported. `name` is for one that carries none.

        Raises BadArchive, ContainerdError.
        """
        try:
            async with tarball.opened(path, self._work_dir) as tar:
                return await self._import(tar, name)
        except (errors.BadImage, image_ref.InvalidReference) as error:
            raise errors.BadArchive(f"cannot import {path}: {error}") from error
        except errors.FailedPrecondition as error:  # digest or size at commit
            raise errors.BadArchive(f"cannot import {path}: damaged blob: {error}") from error
        except errors.BadArchive as error:
            raise errors.BadArchive(f"cannot import {path}: {error}") from error.__cause__

    async def import_layout(self, layout: Members) -> list[str]:
        """From an OCI layout that is no file. Raises BadArchive, ContainerdError."""
        try:
            return await self._import(layout, "")
        except (errors.BadImage, errors.FailedPrecondition) as error:
            raise errors.BadArchive(f"cannot import it: {error}") from error

    async def _import(self, tar: Members, name: str) -> list[str]:
        found = await asyncio.to_thread(lambda: list(read_archive(tar, name)))
        lease = f"import-{os.urandom(8).hex()}"
        async with leases.Leases(self._client).hold(lease) as held:
            for image in found:
                await self._write(held, tar, image)
        return [name for image in found for name in image.names]

    async def _write(self, held: client.Client, tar: Members, image: Found) -> None:
        store = content.Content(held)
        for blob in image.blobs:
            wanted = blob.descriptor
            if blob.data:
                await store.put(blob.data, wanted.digest, blob.labels)
                continue
            with tar.member(blob.member) as source:
                await store.copy_in(source, wanted.digest, wanted.size, blob.labels)
        unpacker = unpack.Unpacker(held, snapshotter=self._snapshotter)
        await unpacker.unpack(image.manifest, image.diff_ids)
        for name in image.names:
            await images.Images(held).put(name, image.target, {})


def read_archive(tar: Members, name: str = "") -> Iterator[Found]:
    """What an archive holds for this device. Raises BadArchive, BadImage, InvalidReference."""
    if "index.json" in tar:
        yield from _read_oci(tar, name)
    elif "manifest.json" in tar:
        yield from _read_docker(tar, name)
    else:
        raise errors.BadArchive(
            "neither an OCI layout (index.json) nor a docker archive (manifest.json)"
        )


def _read_oci(tar: Members, name: str) -> Iterator[Found]:
    index = _load(tar, "index.json", dict)
    entries = index.get("manifests")
    if not isinstance(entries, list) or not entries:
        raise errors.BadArchive("index.json names no image")
    targets: dict[str, oci.Descriptor] = {}
    names: dict[str, list[str]] = {}
    for entry in entries:
        with images.named("index.json"):
            target = oci.descriptor(entry)
        targets.setdefault(target.digest, target)
        names.setdefault(target.digest, []).extend(_oci_names(entry))
    if name and len(targets) == 1:
        names = {digest: [str(image_ref.normalise(name))] for digest in targets}
    if not any(names.values()):
        raise errors.BadArchive(
            f"the image carries no name (annotation {NAME_ANNOTATION}): give it one"
        )
    for digest, carried in names.items():
        if carried:  # attestations and the like travel without a name
            yield _oci_image(tar, targets[digest], list(dict.fromkeys(carried)))


def _oci_names(entry: dict[str, Any]) -> list[str]:
    annotations = entry.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise errors.BadArchive("index.json has annotations that are no object")
    carried = str(annotations.get(NAME_ANNOTATION) or "")
    if not carried:
        # The spec makes this a bare tag; podman, buildah and skopeo put the whole name there.
        ref = str(annotations.get(REF_ANNOTATION) or "")
        carried = ref if "/" in ref or ":" in ref else ""
    return [str(image_ref.normalise(carried))] if carried else []


def _oci_image(tar: Members, target: oci.Descriptor, names: list[str]) -> Found:
    parents: list[Blob] = []
    current = target
    for _ in range(images.INDEX_DEPTH):
        raw = tar.read(_member(tar, current), JSON_LIMIT)
        with images.named(current.digest):
            if not oci.is_index(raw, current.media_type):
                break
            chosen = oci.select(raw, images.host_platform())
        labels = {images.GC_INDEX: chosen.digest}
        parents.append(Blob(current, _member(tar, current), labels=labels))
        current = chosen
    else:
        raise errors.BadArchive(f"index {target.digest} is nested too deeply")
    manifest = images.manifest_of(raw, current.digest)
    config_member = _member(tar, manifest.config)
    config = images.parse_config(tar.read(config_member, JSON_LIMIT), manifest.config)
    blobs = [Blob(layer, _member(tar, layer)) for layer in manifest.layers]
    blobs.append(Blob(manifest.config, config_member))
    blobs.append(Blob(current, _member(tar, current), labels=images.gc_labels(manifest)))
    return Found(names, target, manifest, config.diff_ids, blobs + parents[::-1])


def _member(tar: Members, wanted: oci.Descriptor) -> str:
    algorithm, _, value = wanted.digest.partition(":")
    member = f"blobs/{algorithm}/{value}"
    if member not in tar:
        raise errors.BadArchive(f"blob {wanted.digest} is missing")
    if tar.size(member) != wanted.size:
        raise errors.BadArchive(
            f"blob {wanted.digest} has {tar.size(member)} bytes, not {wanted.size}"
        )
    return member


def _read_docker(tar: Members, name: str) -> Iterator[Found]:
    entries = _load(tar, "manifest.json", list)
    if not entries:
        raise errors.BadArchive("manifest.json names no image")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise errors.BadArchive("manifest.json has an image without Config")
        for key in ("RepoTags", "Layers"):
            if not _is_list_of_text(entry.get(key) or []):
                raise errors.BadArchive(f"manifest.json has {key} that are no list of text")
        names = [name] if name and len(entries) == 1 else entry.get("RepoTags") or []
        if not names:
            raise errors.BadArchive("the image carries no name (RepoTags): give it one")
        yield _docker_image(tar, entry, [str(image_ref.normalise(tag)) for tag in names])


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _docker_image(tar: Members, entry: dict[str, Any], names: list[str]) -> Found:
    config_data = tar.read(entry["Config"], JSON_LIMIT)
    config = oci.Descriptor(OCI_CONFIG, _sha256(config_data), len(config_data))
    parsed = images.parse_config(config_data, config)
    members: list[str] = entry.get("Layers") or []
    if len(members) != len(parsed.diff_ids):
        raise errors.BadArchive(
            f"{len(members)} layers, but {entry['Config']} names {len(parsed.diff_ids)}"
        )
    blobs = [_docker_layer(tar, member) for member in members]
    manifest = images.Manifest("", config, tuple(blob.descriptor for blob in blobs))
    data = _manifest_json(manifest)
    target = oci.Descriptor(oci.OCI_MANIFEST, _sha256(data), len(data))
    blobs.append(Blob(config, data=config_data))
    blobs.append(Blob(target, data=data, labels=images.gc_labels(manifest)))
    return Found(
        names,
        target,
        images.Manifest(target.digest, config, manifest.layers),
        parsed.diff_ids,
        blobs,
    )


def _docker_layer(tar: Members, member: str) -> Blob:
    """The archive does not say a layer's digest: read it once to know it."""
    digest = hashlib.sha256()
    with tar.member(member) as source:
        head = source.read(content.CHUNK)
        packed = "+gzip" if head.startswith(b"\x1f\x8b") else ""
        packed = "+zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else packed
        while head:
            digest.update(head)
            head = source.read(content.CHUNK)
    media_type = OCI_LAYER + packed
    return Blob(
        oci.Descriptor(media_type, "sha256:" + digest.hexdigest(), tar.size(member)), member
    )


def _manifest_json(manifest: images.Manifest) -> bytes:
    def shown(descriptor: oci.Descriptor) -> dict[str, Any]:
        return {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
        }

    return json.canonical(
        {
            "schemaVersion": 2,
            "mediaType": oci.OCI_MANIFEST,
            "config": shown(manifest.config),
            "layers": [shown(layer) for layer in manifest.layers],
        }
    )


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _load(tar: Members, member: str, kind: type) -> Any:
    try:
        document = json.decode(tar.read(member, JSON_LIMIT))
    except json.DecodeError as error:
        raise errors.BadArchive(f"{member} is not JSON: {error}") from error
    if not isinstance(document, kind):
        raise errors.BadArchive(f"{member} is not a JSON {kind.__name__}")
    return document
