"""What the writable layers of containers take on the disk, counted by containerd when asked."""

from __future__ import annotations

from edgeorch.lib import disk
from edgeorch.runtime import client, errors
from edgeorch.runtime.pb import snapshots_pb2


class Snapshots:
    def __init__(self, containerd: client.Client, *, snapshotter: str = "overlayfs") -> None:
        self._client = containerd
        self._snapshotter = snapshotter

    async def usage(self, key: str) -> disk.Usage:
        """Without the layers below; nothing when it is gone. Raises ContainerdError."""
        request = snapshots_pb2.UsageRequest(snapshotter=self._snapshotter, key=key)
        try:
            found = await self._client.call(self._client.services.snapshots.Usage, request)
        except errors.NotFound:
            return disk.Usage()
        return disk.Usage(found.size, found.inodes)
