"""Unpacked images whose files are shown to pods as volumes.

A snapshot on top of the image, which nobody writes to, keeps its layers from being collected for as
long as the pod is there; what is mounted are the layers themselves.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeorch.runtime import errors, rootfs
from edgeorch.runtime.pb import snapshots_pb2

if TYPE_CHECKING:
    from edgeorch.runtime import client

POD_LABEL = "edgeorch.io/volume-of-pod"


class ImageViews:
    def __init__(self, containerd: client.Client, *, snapshotter: str = "overlayfs") -> None:
        self._client = containerd
        self._snapshotter = snapshotter

    async def hold(self, uid: str, volume: str, chain_id: str) -> list[str]:
        """The directories that make up the image, topmost first. Raises ContainerdError."""
        key = f"edgeorch-volume-{uid}-{volume}"
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter,
            key=key,
            parent=chain_id,
            labels={"containerd.io/gc.root": "true", POD_LABEL: uid},
        )
        snapshots = self._client.services.snapshots
        try:
            made = await self._client.call(snapshots.Prepare, request)
        except errors.AlreadyExists:
            # Of a run that ended before it was mounted, or of a former boot.
            await self._remove(key)
            made = await self._client.call(snapshots.Prepare, request)
        return rootfs.layers(made.mounts)

    async def release(self, uid: str) -> None:
        """Those of the pod; none may be there. Raises ContainerdError."""
        request = snapshots_pb2.ListSnapshotsRequest(
            snapshotter=self._snapshotter, filters=[f'labels."{POD_LABEL}"=="{uid}"']
        )
        held = []
        async with self._client.stream(self._client.services.snapshots.List) as stream:
            await stream.send_message(request, end=True)
            async for part in stream:
                held += [info.name for info in part.info]
        for key in held:
            await self._remove(key)

    async def _remove(self, key: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.snapshots.Remove,
                snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key),
            )
