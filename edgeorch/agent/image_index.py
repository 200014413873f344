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


class Store(Protocol):
    async def targets(self) -> dict[str, oci.Descriptor]:
        """What every name points at. Raises ContainerdError."""


class ImageIndex:
    def __init__(self, images: Store, path: Path) -> None:
        self._images = images
        self._path = path
        self._changed = asyncio.Event()
        self._known: dict[str, oci.Descriptor] | None = None
        self.paused = False
        """While images are being made anew: what is not there yet is not forgotten."""

    def changed(self) -> None:
        """Images may have come, changed or gone."""
        self._changed.set()

    def read(self) -> dict[str, oci.Descriptor]:
        """What was known last. Blocks."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, oci.Descriptor])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("Cannot read %s: %s", self._path, error)
            return {}

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
        index = dict(sorted(found.items()))
        if self._known is None:
            self._known = self.read()
        if index == self._known:
            return
        try:
            files.write_atomically(self._path, json.encode(index), mode=0o600)
        except OSError as error:
            log.warning("Cannot write %s: %s", self._path, error)
        else:
            self._known = index
