"""Which names point at which images, kept outside containerd: from it and from the blobs, images
can be made anew when containerd has lost its own record of them.

Written when images come, change or go, and at no other time.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Protocol

import msgspec

from edgeorch.lib import files, json
from edgeorch.runtime import errors
from edgeorch.wire import oci

log = logging.getLogger(__name__)

_SETTLE = 1.0
"""Seconds in which changes gather."""


class _Target(msgspec.Struct, frozen=True):
    media_type: str
    digest: str
    size: int


class Store(Protocol):
    async def targets(self) -> dict[str, oci.Descriptor]:
        """What every name points at. Raises ContainerdError."""


class ImageIndex:
    def __init__(self, images: Store, path: Path) -> None:
        self._images = images
        self._path = path
        self._changed = asyncio.Event()
        self._known: dict[str, _Target] | None = None
        self.paused = False
        """While images are being made anew: what is not there yet is not forgotten."""

    def changed(self) -> None:
        """Images may have come, changed or gone."""
        self._changed.set()

    def read(self) -> dict[str, oci.Descriptor]:
        """What was known last. Blocks."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Target])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("Cannot read %s: %s", self._path, error)
            return {}
        return {
            name: oci.Descriptor(each.media_type, each.digest, each.size)
            for name, each in found.items()
        }

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE)
            self._changed.clear()
            if self.paused:
                continue
            try:
                found = await self._images.targets()
            except errors.ContainerdError as error:
                log.debug("Cannot list images: %s", error)
                continue
            await asyncio.to_thread(self._write, found)

    def _write(self, found: dict[str, oci.Descriptor]) -> None:
        index = {
            name: _Target(target.media_type, target.digest, target.size)
            for name, target in sorted(found.items())
        }
        if self._known is None:
            before = self.read()
            self._known = {n: _Target(t.media_type, t.digest, t.size) for n, t in before.items()}
        if index == self._known:
            return
        try:
            files.write_atomically(self._path, json.encode(index), mode=0o600)
        except OSError as error:
            log.warning("Cannot write %s: %s", self._path, error)
        else:
            self._known = index
