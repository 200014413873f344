"""Images: names that point at manifests in the content store, and what a manifest says.

An image record is written last, after its blobs, their GC labels and the unpacked snapshots, so
that a name that resolves is an image that runs (unpack.py, archive.py keep that order).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from google.protobuf import field_mask_pb2
from msgspec import Struct, field

from edgeorch.runtime import client, content, errors, stamps
from edgeorch.runtime import snapshotter as snapshotters
from edgeorch.runtime.pb import images_pb2, types_pb2
from edgeorch.wire import oci

_GC_CONTENT = "containerd.io/gc.ref.content."
GC_INDEX = f"{_GC_CONTENT}m.0"  # on an index: the manifest chosen for this device
INDEX_DEPTH = 4
V = TypeVar("V")
_CACHED = 64  # decoded configurations; a device runs few images


class ImageInfo(Struct, frozen=True):
    """`digest` is what the name points at, `size` what the image takes in the content store."""

    name: str
    digest: str
    size: int
    created_at: datetime.datetime | None
    labels: dict[str, str] = field(default_factory=dict)


class ImageConfig(Struct, frozen=True):
    """What the image wants to run as. `chain_id` is the snapshot it unpacks to."""

    entrypoint: list[str]
    cmd: list[str]
    env: list[str]
    working_dir: str
    user: str
    stop_signal: str
    exposed_ports: list[str]
    volumes: list[str]
    diff_ids: list[str]
    chain_id: str
    config_digest: str
    platform: oci.Platform


class Manifest(Struct, frozen=True):
    """One platform's image: `digest` is the manifest's own."""

    digest: str
    config: oci.Descriptor
    layers: tuple[oci.Descriptor, ...]

    def content_size(self) -> int:
        """What it takes in the content store, compressed as it came."""
        return self.config.size + sum(layer.size for layer in self.layers)


Names = list[str]  # `list` is a method of the class below


class Images:
    def __init__(
        self,
        containerd: client.Client,
        *,
        snapshotter: str = "overlayfs",
        work_dir: Path = Path("/var/tmp"),  # noqa: S108 - a fallback; app.py passes our own
    ) -> None:
        self._client = containerd
        self._content = content.Content(containerd)
        self._snapshotter = snapshotter
        self._work_dir = work_dir
        # By the digest a name points at, so never stale.
        self._configs: dict[str, ImageConfig] = {}
        self._sizes: dict[str, int] = {}

    def forget(self) -> None:
        """What was read of images; it is read again."""
        self._configs.clear()
        self._sizes.clear()

    async def list(self) -> list[ImageInfo]:
        answer = await self._client.call(
            self._client.services.images.List, images_pb2.ListImagesRequest()
        )
        return [await self._info(image) for image in answer.images]

    async def targets(self) -> dict[str, oci.Descriptor]:
        """What every name points at."""
        answer = await self._client.call(
            self._client.services.images.List, images_pb2.ListImagesRequest()
        )
        return {image.name: _target(image) for image in answer.images}

    async def get(self, ref: str) -> ImageInfo:
        """`ref` is a normalised name. Raises NotFound."""
        return await self._info(await self._image(ref))

    async def config(self, ref: str) -> ImageConfig:
        """Raises NotFound, BadImage."""
        target = _target(await self._image(ref))
        cached = self._configs.get(target.digest)
        if cached is not None:
            return cached
        manifest = await self.manifest(target)
        config = parse_config(await self._content.read(manifest.config.digest), manifest.config)
        _remember(self._configs, target.digest, config)
        return config

    async def manifest(self, target: oci.Descriptor) -> Manifest:
        """The manifest for this device that `target` names, through nested indexes."""
        wanted = host_platform()
        for _ in range(INDEX_DEPTH):
            raw = await self._content.read(target.digest)
            with named(target.digest):
                if not oci.is_index(raw, target.media_type):
                    return manifest_of(raw, target.digest)
                target = oci.select(raw, wanted)
        raise errors.BadImage(f"image index {target.digest} is nested too deeply")

    async def import_archive(self, path: Path, *, name: str = "") -> Names:
        """The normalised names of the images in an OCI or docker-save archive.

        `name` is for an archive that carries none. Raises BadArchive, ContainerdError.
        """
        from edgeorch.runtime import archive  # rarely needed, so not at start

        importer = archive.Archives(
            self._client, snapshotter=self._snapshotter, work_dir=self._work_dir
        )
        return await importer.import_archive(path, name=name)

    async def put(self, name: str, target: oci.Descriptor, labels: Mapping[str, str]) -> None:
        """Point `name` at `target`, whatever it pointed at before. The last step of an import."""
        image = images_pb2.Image(
            name=name,
            labels=labels,
            target=types_pb2.Descriptor(
                media_type=target.media_type, digest=target.digest, size=target.size
            ),
        )
        services = self._client.services
        try:
            await self._client.call(
                services.images.Create, images_pb2.CreateImageRequest(image=image)
            )
        except errors.AlreadyExists:
            paths = ["target", *(f"labels.{label}" for label in labels)]
            await self._client.call(
                services.images.Update,
                images_pb2.UpdateImageRequest(
                    image=image, update_mask=field_mask_pb2.FieldMask(paths=paths)
                ),
            )

    async def remove(self, ref: str, *, sync: bool = False) -> None:
        """Idempotent. With `sync` its blobs and layers are collected before this returns."""
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.images.Delete,
                images_pb2.DeleteImageRequest(name=ref, sync=sync),
                deadline=content.COMMIT_TIMEOUT,
            )

    async def label(self, ref: str, labels: Mapping[str, str]) -> None:
        """Set these labels and leave the others; an empty value takes one away. Raises NotFound."""
        # containerd 1.7 falls over an image without a target, whatever the mask says.
        target = (await self._image(ref)).target
        image = images_pb2.Image(name=ref, labels=labels, target=target)
        paths = [f"labels.{label}" for label in labels]
        await self._client.call(
            self._client.services.images.Update,
            images_pb2.UpdateImageRequest(
                image=image, update_mask=field_mask_pb2.FieldMask(paths=paths)
            ),
        )

    async def root(self) -> str:
        """Where layers are unpacked; "" when containerd does not say."""
        return await snapshotters.root(self._client, self._snapshotter)

    async def _image(self, ref: str) -> images_pb2.Image:
        answer = await self._client.call(
            self._client.services.images.Get, images_pb2.GetImageRequest(name=ref)
        )
        return answer.image

    async def _info(self, image: images_pb2.Image) -> ImageInfo:
        target = _target(image)
        size = self._sizes.get(target.digest)
        if size is None:
            try:
                size = (await self.manifest(target)).content_size()
            except (errors.NotFound, errors.BadImage):
                size = target.size  # not for this device, or damaged: it is listed all the same
            _remember(self._sizes, target.digest, size)
        return ImageInfo(
            name=image.name,
            digest=target.digest,
            size=size,
            created_at=stamps.moment(image.created_at),
            labels=dict(image.labels),
        )


def host_platform() -> oci.Platform:
    return oci.host_platform(platform.machine())


def chain_id(diff_ids: Iterable[str]) -> str:
    """The name of the snapshot with all these layers, as the OCI image spec computes it."""
    chain = ""
    for diff_id in diff_ids:
        chain = f"{chain} {diff_id}" if chain else diff_id
        if " " in chain:
            chain = "sha256:" + hashlib.sha256(chain.encode()).hexdigest()
    return chain


class _Settings(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """`config` of the image-spec's configuration; any of it may be null."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None
    exposed_ports: dict[str, Any] | None = None
    volumes: dict[str, Any] | None = None


class _RootFs(msgspec.Struct, frozen=True, kw_only=True):
    diff_ids: list[str] | None = None


class _Configuration(msgspec.Struct, frozen=True, kw_only=True):
    config: _Settings | None = None
    rootfs: _RootFs | None = None
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


def parse_config(data: bytes, descriptor: oci.Descriptor) -> ImageConfig:
    """Raises BadImage."""
    what = f"image configuration {descriptor.digest}"
    try:
        document = msgspec.json.decode(data, type=_Configuration)
    except msgspec.ValidationError as error:
        raise errors.BadImage(f"{what} is malformed: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.BadImage(f"{what} is not JSON: {error}") from error
    config = document.config or _Settings()
    diff_ids = (document.rootfs or _RootFs()).diff_ids
    if not diff_ids:
        raise errors.BadImage(f"{what} names no layers")
    return ImageConfig(
        entrypoint=config.entrypoint or [],
        cmd=config.cmd or [],
        env=config.env or [],
        working_dir=config.working_dir or "",
        user=config.user or "",
        stop_signal=config.stop_signal or "",
        exposed_ports=sorted(config.exposed_ports or {}),
        volumes=sorted(config.volumes or {}),
        diff_ids=diff_ids,
        chain_id=chain_id(diff_ids),
        config_digest=descriptor.digest,
        platform=oci.Platform(
            document.os or "linux", document.architecture or "", document.variant or ""
        ),
    )


def manifest_of(raw: bytes, digest: str) -> Manifest:
    """Raises BadImage."""
    with named(digest):
        found = oci.manifest(raw)
    return Manifest(digest, found.config, found.layers)


def gc_labels(manifest: Manifest) -> dict[str, str]:
    """On the manifest's blob: what keeps its configuration and layers from being collected."""
    labels = {f"{_GC_CONTENT}config": manifest.config.digest}
    for position, layer in enumerate(manifest.layers):
        labels[f"{_GC_CONTENT}l.{position}"] = layer.digest
    return labels


@contextlib.contextmanager
def named(digest: str) -> Iterator[None]:
    """A malformed document becomes BadImage, with the blob's name."""
    try:
        yield
    except oci.ManifestError as error:
        raise errors.BadImage(f"{digest}: {error}") from error


def _target(image: images_pb2.Image) -> oci.Descriptor:
    return oci.Descriptor(image.target.media_type, image.target.digest, image.target.size)


def _remember(cache: dict[str, V], key: str, value: V) -> None:
    if len(cache) >= _CACHED:
        cache.pop(next(iter(cache)))
    cache[key] = value
