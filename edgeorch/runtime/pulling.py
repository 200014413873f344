"""The sink of a registry pull: blobs into the content store, then an image that runs.

The order is that of every import: blobs, their GC labels, unpacked snapshots, and last the image's
name. A lease that outlives a failure keeps what has arrived for the next try.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping

from edgeorch.runtime import client, content, errors, images, leases, unpack
from edgeorch.wire import oci

LEASE_PREFIX = "pull-"


class PullSinks:
    def __init__(self, containerd: client.Client, *, snapshotter: str = "overlayfs") -> None:
        self._client = containerd
        self._snapshotter = snapshotter

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[PullSink]:
        lease = LEASE_PREFIX + hashlib.sha256(name.encode()).hexdigest()[:32]
        async with leases.Leases(self._client).hold(lease, keep_on_error=True) as leased:
            yield PullSink(leased, self._snapshotter)


class Ingest:
    """content.Ingest, with a damaged blob told as ValueError."""

    def __init__(self, inner: content.Ingest) -> None:
        self._inner = inner

    @property
    def offset(self) -> int:
        return self._inner.offset

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)

    async def rewind(self) -> None:
        await self._inner.rewind()

    async def commit(self, labels: Mapping[str, str]) -> None:
        try:
            await self._inner.commit(labels)
        except errors.FailedPrecondition as error:
            raise ValueError(str(error)) from error
        except errors.AlreadyExists:
            return  # another pull shares the layer and was quicker

    async def close(self) -> None:
        await self._inner.close()


class PullSink:
    def __init__(self, leased: client.Client, snapshotter: str) -> None:
        self._client = leased
        self._content = content.Content(leased)
        self._snapshotter = snapshotter

    async def exists(self, digest: str) -> bool:
        return await self._content.exists(digest)

    async def read(self, digest: str) -> bytes:
        return await self._content.read(digest)

    async def open(self, ref: str, size: int, digest: str) -> Ingest:
        """Raises KeyError when the blob is there already."""
        try:
            return Ingest(await self._content.open(ref, size, digest))
        except errors.AlreadyExists as error:
            raise KeyError(digest) from error

    async def finish(self, name: str, target: oci.Descriptor, manifest: oci.Descriptor) -> None:
        found = images.Images(self._client)
        described = await found.manifest(manifest)
        await self._content.update_labels(manifest.digest, images.gc_labels(described))
        if target.digest != manifest.digest:
            await self._content.update_labels(target.digest, {images.GC_INDEX: manifest.digest})
        raw = await self._content.read(described.config.digest)
        config = images.parse_config(raw, described.config)
        unpacker = unpack.Unpacker(self._client, snapshotter=self._snapshotter)
        await unpacker.unpack(described, config.diff_ids)
        await found.put(name, target, {})
