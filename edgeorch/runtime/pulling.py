"""The sink of a registry pull: blobs into the content store, then an image that runs.

The order is that of every import: blobs, their GC labels, unpacked snapshots, and last the image's
name. A lease that outlives a failure keeps what has arrived for the next try.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

from edgeorch.core import image_room
from edgeorch.lib import backoff
from edgeorch.runtime import client, content, errors, images, leases, unpack
from edgeorch.wire import oci

LEASE_PREFIX = "pull-"
HAND_PREFIX = "hand-pull-"
"""Of pulls from the command line, which no stored spec stands behind."""
AWAY = backoff.Policy(initial=0.5, factor=2.0, cap=5.0)
AWAY_TRIES = 8


class PullSinks:
    def __init__(
        self,
        containerd: client.Client,
        *,
        snapshotter: str = "overlayfs",
        prefix: str = LEASE_PREFIX,
    ) -> None:
        self._client = containerd
        self._snapshotter = snapshotter
        self._prefix = prefix

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[PullSink]:
        lease = self._prefix + hashlib.sha256(name.encode()).hexdigest()[:32]
        kept = leases.Leases(self._client)

        async def begin() -> None:
            await kept.create(lease, about=name)

        yield PullSink(self._client.leased(lease), self._snapshotter, begin)
        await kept.drop(lease)


class Ingest:
    """content.Ingest in the words of a puller: ValueError for a damaged blob, ConnectionError when
    containerd is away."""

    def __init__(self, inner: content.Ingest) -> None:
        self._inner = inner

    @property
    def offset(self) -> int:
        return self._inner.offset

    async def write(self, data: bytes) -> None:
        with _away():
            await self._inner.write(data)

    async def rewind(self) -> None:
        with _away():
            await self._inner.rewind()

    async def commit(self, labels: Mapping[str, str]) -> None:
        try:
            with _away():
                await self._inner.commit(labels)
        except errors.FailedPrecondition as error:
            raise ValueError(str(error)) from error
        except errors.AlreadyExists:
            return  # another process shares the layer and was quicker

    async def close(self) -> None:
        await self._inner.close()


class PullSink:
    """A pull that ends before anything has come (nobody answers) leaves no lease."""

    def __init__(
        self, leased: client.Client, snapshotter: str, begin: Callable[[], Awaitable[None]]
    ) -> None:
        """`begin` makes the lease."""
        self._client = leased
        self._snapshotter = snapshotter
        self._content = content.Content(leased)
        self._unpacker = unpack.Unpacker(leased, snapshotter=snapshotter)
        self._parsed: tuple[images.Manifest, list[str]] | None = None
        self._begin: Callable[[], Awaitable[None]] | None = begin

    async def read(self, digest: str) -> bytes:
        """Raises KeyError when it is not there."""
        try:
            with _away():
                return await self._content.read(digest)
        except errors.NotFound as error:
            raise KeyError(digest) from error

    async def open(self, ref: str, size: int, digest: str) -> Ingest:
        """Raises KeyError when the blob is there already."""
        try:
            with _away():
                if self._begin is not None:
                    await self._begin()
                    self._begin = None
                return Ingest(await self._content.open(ref, size, digest))
        except errors.AlreadyExists as error:
            raise KeyError(digest) from error

    async def room(self, blobs: Sequence[oci.Descriptor]) -> image_room.Room | None:
        with _away():
            root = await images.Images(self._client, snapshotter=self._snapshotter).root()
            unique = {blob.digest: blob for blob in blobs}.values()
            missing = sum([await self._missing(blob) for blob in unique])
        try:
            found = await asyncio.to_thread(os.statvfs, root)
        except OSError:
            return None
        free, available, capacity = (
            blocks * found.f_frsize for blocks in (found.f_bfree, found.f_bavail, found.f_blocks)
        )
        return image_room.Room(missing, free, available, capacity, root)

    async def _missing(self, blob: oci.Descriptor) -> int:
        if await self._content.exists(blob.digest):
            return 0
        try:
            come = await self._content.status(f"pull-{blob.digest}") or 0
        except errors.Unavailable:
            raise
        except errors.ContainerdError:
            come = 0  # a power cut left it unreadable: it is begun anew
        return max(0, blob.size - come)

    async def unpack(self, manifest: oci.Descriptor, position: int) -> None:
        await _persist(lambda: self._unpack(manifest, position))

    async def _unpack(self, manifest: oci.Descriptor, position: int) -> None:
        described, diff_ids = await self._described(manifest)
        await self._unpacker.unpack_layer(described, diff_ids, position)

    async def finish(self, name: str, target: oci.Descriptor, manifest: oci.Descriptor) -> None:
        await _persist(lambda: self._finish(name, target, manifest))

    async def _finish(self, name: str, target: oci.Descriptor, manifest: oci.Descriptor) -> None:
        described, diff_ids = await self._described(manifest)
        await self._content.update_labels(manifest.digest, images.gc_labels(described))
        if target.digest != manifest.digest:
            await self._content.update_labels(target.digest, {images.GC_INDEX: manifest.digest})
        await self._unpacker.label(described, diff_ids)
        await images.Images(self._client).put(name, target, {})

    async def _described(self, manifest: oci.Descriptor) -> tuple[images.Manifest, list[str]]:
        if self._parsed is None or self._parsed[0].digest != manifest.digest:
            described = await images.Images(self._client).manifest(manifest)
            raw = await self._content.read(described.config.digest)
            self._parsed = described, images.parse_config(raw, described.config).diff_ids
        return self._parsed


async def _persist(step: Callable[[], Awaitable[None]]) -> None:
    """A step that may be repeated: containerd is waited for when it goes away for a moment."""
    for failures in range(AWAY_TRIES):
        try:
            await step()
        except errors.Unavailable:
            if failures + 1 == AWAY_TRIES:
                raise
            await asyncio.sleep(AWAY.delay(failures))
        else:
            return


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except errors.Unavailable as error:
        raise ConnectionError(str(error)) from error
