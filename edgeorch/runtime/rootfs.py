"""Small files out of an image, such as /etc/passwd, without mounting it.

A passing snapshot on top of the image tells where its layers lie; the files are then read from
there, topmost layer first. Nothing in an image can lead outside it: no component of a path is
followed if it is a symbolic link.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgeorch.runtime import client, containers, errors
from edgeorch.runtime.pb import snapshots_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FILE = 1024 * 1024


class RootFiles:
    def __init__(
        self,
        containerd: client.Client,
        owner: containers.Containers,
        *,
        snapshotter: str = "overlayfs",
    ) -> None:
        """`owner` is who looks for orphans."""
        self._client = containerd
        self._owner = owner
        self._snapshotter = snapshotter

    async def read(self, chain_id: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Those of `paths` that the unpacked image holds. Raises ContainerdError."""
        key = f"edgeorch-view-{os.urandom(8).hex()}"
        async with self._owner.making(key):
            return await self._read(key, chain_id, paths)

    async def _read(self, key: str, chain_id: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter,
            key=key,
            parent=chain_id,
            # Owned by nobody: what a crash leaves is removed as an orphan.
            labels={"containerd.io/gc.root": "true", containers.OWNER_LABEL: key},
        )
        services = self._client.services
        try:
            view = await self._client.call(services.snapshots.Prepare, request)
            roots = layers(view.mounts)
            return await asyncio.to_thread(_read_all, roots, paths)
        finally:
            with contextlib.suppress(errors.ContainerdError):
                await self._client.call(
                    services.snapshots.Remove,
                    snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key),
                )


def layers(mounts: Sequence[types_pb2.Mount]) -> list[str]:
    """The directories that make up a view, topmost first."""
    found: list[str] = []
    for mount in mounts:
        if mount.type == "overlay":
            for option in mount.options:
                name, _, value = option.partition("=")
                if name == "lowerdir":
                    found += value.split(":")
        elif mount.source:
            found.append(mount.source)
    return found


def _read_all(roots: list[str], paths: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        data = _read(roots, path)
        if data is not None:
            found[path] = data
    return found


def _read(roots: list[str], path: str) -> bytes | None:
    for root in roots:
        try:
            fd = _open_beneath(root, path)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        try:
            # A character device is overlayfs's mark of a removed file.
            return os.read(fd, MAX_FILE) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)
    return None


def _open_beneath(root: str, path: str) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    *folders, name = path.strip("/").split("/")
    here = os.open(root, flags | os.O_DIRECTORY)
    try:
        for folder in folders:
            there = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = there
        if stat.S_ISCHR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise NotADirectoryError(path)
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)
