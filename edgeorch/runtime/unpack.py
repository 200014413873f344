"""Layers into snapshots, such that a power cut leaves either nothing or the whole layer.

For each layer: Prepare a writable snapshot on the parent chain, Apply the blob, sync, Commit under
the chain ID. Commit is durable at once (boltdb), so the files must be on disk before it:
containerd >= 1.7 does that for `sync_fs`; 1.6 ignores the field, so there we call syncfs(2) on the
snapshotter's file system. A chain that stands is not touched. What an interrupted run left (a key
`extract-...`) only its lease refers to: without it, the garbage collector takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Sequence

from edgeorch.runtime import client, content, errors, images
from edgeorch.runtime import snapshotter as snapshotters
from edgeorch.runtime.pb import diff_pb2, snapshots_pb2, types_pb2
from edgeorch.wire import oci

# Unpacking a layer of some hundred MB on an SD card.
APPLY_TIMEOUT = 1800.0
GC_SNAPSHOT = "containerd.io/gc.ref.snapshot."
KEY_PREFIX = "extract-"


class Unpacker:
    def __init__(self, containerd: client.Client, *, snapshotter: str = "overlayfs") -> None:
        self._client = containerd
        self._snapshotter = snapshotter
        self._root: str | None = None
        # One layer at a time: an SD card gains nothing from two, and memory is short.
        self._lock = asyncio.Lock()

    async def unpack(self, manifest: images.Manifest, diff_ids: Sequence[str]) -> str:
        """The chain ID. Call it under a lease, then label the configuration, then name the image.

        Images that share layers may be unpacked at the same time.
        """
        for position in range(len(manifest.layers)):
            await self.unpack_layer(manifest, diff_ids, position)
        return await self.label(manifest, diff_ids)

    async def label(self, manifest: images.Manifest, diff_ids: Sequence[str]) -> str:
        """The last step: the configuration holds the snapshot. The chain ID."""
        chain = images.chain_id(diff_ids)
        await content.Content(self._client).update_labels(
            manifest.config.digest, {GC_SNAPSHOT + self._snapshotter: chain}
        )
        return chain

    async def unpack_layer(
        self, manifest: images.Manifest, diff_ids: Sequence[str], position: int
    ) -> None:
        """One layer, with all below it unpacked."""
        if len(diff_ids) != len(manifest.layers):
            raise errors.BadImage(
                f"manifest {manifest.digest} has {len(manifest.layers)} layers, "
                f"its configuration {len(diff_ids)}"
            )
        parent = images.chain_id(diff_ids[:position])
        chain = images.chain_id(diff_ids[: position + 1])
        async with self._lock:
            await self._layer(manifest.layers[position], diff_ids[position], parent, chain)

    async def is_unpacked(self, chain: str) -> bool:
        return await self._stands(chain)

    async def _layer(self, layer: oci.Descriptor, diff_id: str, parent: str, chain: str) -> None:
        try:
            kind = oci.applied_as(layer.media_type)
        except oci.ManifestError as error:
            raise errors.BadImage(f"layer {layer.digest}: {error}") from error
        # A key of its own for each try: what a dead or parallel process left is not in the way.
        key = f"{KEY_PREFIX}{os.urandom(4).hex()} {chain}"
        mounts = await self._prepare(key, parent, chain)
        if mounts is None:
            return
        try:
            applied = await self._client.call(
                self._client.services.diff.Apply,
                diff_pb2.ApplyRequest(
                    diff=types_pb2.Descriptor(
                        media_type=kind, digest=layer.digest, size=layer.size
                    ),
                    mounts=mounts,
                    sync_fs=True,
                ),
                deadline=APPLY_TIMEOUT,
            )
            if applied.applied.digest != diff_id:
                raise errors.BadImage(
                    f"layer {layer.digest} unpacks to {applied.applied.digest}, "
                    f"its configuration says {diff_id}"
                )
            await self._sync()
            await self._commit(key, chain)
        except (errors.ContainerdError, asyncio.CancelledError):
            with contextlib.suppress(errors.ContainerdError):
                await self._remove(key)
            raise

    async def _prepare(self, key: str, parent: str, chain: str) -> list[types_pb2.Mount] | None:
        """None when the chain stands. The label lets containerd see that, and put it under our
        lease: it may just be losing the last image that held it."""
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter,
            key=key,
            parent=parent,
            labels={"containerd.io/snapshot.ref": chain},
        )
        try:
            answer = await self._client.call(self._client.services.snapshots.Prepare, request)
        except errors.AlreadyExists:
            return None
        return list(answer.mounts)

    async def _commit(self, key: str, chain: str) -> None:
        request = snapshots_pb2.CommitSnapshotRequest(
            snapshotter=self._snapshotter,
            name=chain,
            key=key,
            labels={"containerd.io/snapshot.ref": chain},
        )
        try:
            await self._client.call(
                self._client.services.snapshots.Commit, request, deadline=content.COMMIT_TIMEOUT
            )
        except errors.AlreadyExists:
            await self._remove(key)  # another process was quicker; its layer is as good

    async def _stands(self, chain: str) -> bool:
        request = snapshots_pb2.StatSnapshotRequest(snapshotter=self._snapshotter, key=chain)
        try:
            answer = await self._client.call(self._client.services.snapshots.Stat, request)
        except errors.NotFound:
            return False
        return answer.info.kind == snapshots_pb2.COMMITTED

    async def _remove(self, key: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.snapshots.Remove,
                snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key),
            )

    async def _sync(self) -> None:
        if await self._client.generation() >= (1, 7):
            return
        root = await self._snapshotter_root()
        await asyncio.to_thread(syncfs, root) if root else await asyncio.to_thread(os.sync)

    async def _snapshotter_root(self) -> str:
        if self._root is None:
            self._root = await snapshotters.root(self._client, self._snapshotter)
        return self._root


def syncfs(path: str) -> None:
    """All of the file system that holds `path` is on disk when this returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot sync {path}: {os.strerror(number)}")
    finally:
        os.close(fd)
