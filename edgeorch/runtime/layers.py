"""Layers on the disk against what they were unpacked from, and unpacked again where they differ.

For after a cut of power: unpacking syncs before it commits, but cards lie. Compared is everything
that a layer's archive holds: kinds, sizes, targets of links, and the bytes of files. Only layers
that stand beside no running container are touched. Sources: OCI image-spec, layer.md (whiteouts);
containerd's diff/apply (an overlay mount's upper directory is written as it is).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import hashlib
import logging
import os
import stat
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from msgspec import Struct

from edgeorch.runtime import client, content, errors, images, stamps
from edgeorch.runtime.pb import diff_pb2, snapshots_pb2, types_pb2
from edgeorch.wire import oci

log = logging.getLogger(__name__)

_APPLY_TIMEOUT = 1800.0
_CHUNK = 256 * 1024
_WHITEOUT = ".wh."


class Layer(Struct, frozen=True):
    """One that stands. `folders`: its own directory and those below it, topmost first."""

    chain: str
    blob: oci.Descriptor
    created: datetime.datetime
    folders: tuple[str, ...] = ()


class Torn(Struct, frozen=True):
    """`is_lost`: what it was unpacked from is damaged, too."""

    layer: Layer
    image: str
    why: str
    is_lost: bool = False


class Layers:
    def __init__(self, containerd: client.Client, *, snapshotter: str, blobs: Path) -> None:
        """`blobs`: where containerd keeps them, blobs/sha256."""
        self._client = containerd
        self._snapshotter = snapshotter
        self._blobs = blobs
        self._images = images.Images(containerd, snapshotter=snapshotter)
        self._content = content.Content(containerd)

    async def since(self, floor: datetime.datetime | None) -> dict[str, tuple[str, Layer]]:
        """Layers made after that moment, with an image that has each, by chain ID, lowest first."""
        stand = await self._standing()
        found: dict[str, tuple[str, Layer]] = {}
        for name, target in (await self._images.targets()).items():
            try:
                manifest = await self._images.manifest(target)
                config = await self._images.config(name)
            except (errors.NotFound, errors.BadImage) as error:
                log.warning("Cannot look at the layers of %s: %s", name, error)
                continue
            for position, blob in enumerate(manifest.layers):
                chain = images.chain_id(config.diff_ids[: position + 1])
                created = stand.get(chain)
                if created is not None and (floor is None or created > floor):
                    found.setdefault(chain, (name, Layer(chain, blob, created)))
        return found

    async def _standing(self) -> dict[str, datetime.datetime]:
        found = {}
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=self._snapshotter)
        async with self._client.stream(self._client.services.snapshots.List) as stream:
            await stream.send_message(request, end=True)
            async for part in stream:
                for info in part.info:
                    made = stamps.moment(info.created_at)
                    if info.kind == snapshots_pb2.COMMITTED and made is not None:
                        found[info.name] = made
        return found

    async def check(self, name: str, layer: Layer) -> Torn | None:
        """Raises ContainerdError."""
        async with self._folders(layer.chain) as folders:
            layer = Layer(layer.chain, layer.blob, layer.created, folders)
            path = self._blobs / layer.blob.digest.partition(":")[2]
            try:
                if not await asyncio.to_thread(_is_whole, path, layer.blob):
                    return Torn(layer, name, f"its blob {path} is damaged", is_lost=True)
                why = await asyncio.to_thread(_compare, path, layer.blob, Path(folders[0]))
            except OSError as error:
                return Torn(layer, name, str(error), is_lost=True)
        return Torn(layer, name, why) if why else None

    @contextlib.asynccontextmanager
    async def _folders(self, chain: str) -> AsyncIterator[tuple[str, ...]]:
        """By way of a snapshot on top of it, which nobody uses."""
        from edgeorch.runtime import rootfs

        key = f"edgeorch-check-{os.urandom(4).hex()}"
        snapshots = self._client.services.snapshots
        made = await self._client.call(
            snapshots.Prepare,
            snapshots_pb2.PrepareSnapshotRequest(
                snapshotter=self._snapshotter, key=key, parent=chain
            ),
        )
        try:
            yield tuple(rootfs.layers(made.mounts))
        finally:
            with contextlib.suppress(errors.NotFound):
                await self._client.call(
                    snapshots.Remove,
                    snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key),
                )

    async def unpack_again(self, torn: Torn) -> None:
        """Over what is there. Raises ContainerdError, also for a blob that is damaged itself."""
        own, *below = torn.layer.folders
        work = f"{own}.again"
        await asyncio.to_thread(os.makedirs, work, exist_ok=True)
        options = [f"upperdir={own}", f"workdir={work}"]
        if below:
            options.append(f"lowerdir={':'.join(below)}")
            mount = types_pb2.Mount(type="overlay", source="overlay", options=options)
        else:
            mount = types_pb2.Mount(type="bind", source=own, options=["rbind", "rw"])
        blob = torn.layer.blob
        try:
            await self._client.call(
                self._client.services.diff.Apply,
                diff_pb2.ApplyRequest(
                    diff=types_pb2.Descriptor(
                        media_type=oci.applied_as(blob.media_type),
                        digest=blob.digest,
                        size=blob.size,
                    ),
                    mounts=[mount],
                    sync_fs=True,
                ),
                deadline=_APPLY_TIMEOUT,
            )
            await asyncio.to_thread(os.sync)
        finally:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.rmdir, work)

    async def forget(self, torn: Torn) -> None:
        """The blob is damaged: without it and the image's name both are fetched again."""
        await self._content.delete(torn.layer.blob.digest)
        await self._images.remove(torn.image, sync=True)


def _is_whole(blob: Path, described: oci.Descriptor) -> bool:
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return f"sha256:{found}" == described.digest


def _compare(blob: Path, described: oci.Descriptor, folder: Path) -> str:
    """What of the archive is not in the folder as it should be, "" for nothing. Blocks."""
    with blob.open("rb") as packed:
        plain = _plain(packed, described.media_type)
        if plain is None:
            return ""  # nobody here can read it
        try:
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                return _differs(archive, folder)
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            return f"its blob cannot be read: {error}"


def _plain(packed: IO[bytes], media_type: str) -> IO[bytes] | gzip.GzipFile | None:
    """The archive as it was; None where that takes more than there is."""
    if media_type.endswith("gzip"):
        return gzip.GzipFile(fileobj=packed)
    return None if media_type.endswith("zstd") else packed


def _differs(archive: tarfile.TarFile, folder: Path) -> str:
    # A name may come twice in an archive, and the last one counts.
    wrong: dict[str, str] = {}
    for entry in archive:
        name = entry.name.strip("/").removeprefix("./")
        if not name or name == "." or os.path.basename(name).startswith(_WHITEOUT):
            continue
        path = folder / name
        wrong.pop(name, None)
        if told := _entry_differs(archive, entry, path):
            wrong[name] = told
    return "; ".join(f"{name} {told}" for name, told in list(wrong.items())[:3])


def _entry_differs(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> str:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    rules: list[tuple[bool, Callable[[int], bool]]] = [
        (entry.isdir(), stat.S_ISDIR),
        (entry.issym(), stat.S_ISLNK),
        (entry.isfile() or entry.islnk(), stat.S_ISREG),
        (entry.ischr(), stat.S_ISCHR),
        (entry.isblk(), stat.S_ISBLK),
        (entry.isfifo(), stat.S_ISFIFO),
    ]
    if any(is_kind and not has_kind(found.st_mode) for is_kind, has_kind in rules):
        return "is of another kind"
    if entry.issym() and os.readlink(path) != entry.linkname:
        return "leads elsewhere"
    if not entry.isfile():
        return ""
    if found.st_size != entry.size:
        return f"has {found.st_size} bytes, not {entry.size}"
    source = archive.extractfile(entry)
    with path.open("rb") as file:
        while source is not None and (wanted := source.read(_CHUNK)):
            if file.read(len(wanted)) != wanted:
                return "has other content"
    return ""
