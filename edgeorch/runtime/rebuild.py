"""containerd's own state, set aside when it is damaged, and images made anew from their blobs.

What containerd knows of stands in bolt files; what it holds, blobs and layers, lies beside them. A
damaged file takes every image with it, though all blobs are there: they are moved out of reach of
its garbage collector, which would remove what the new file does not know of, and read in again.
Everything that touches files blocks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from edgeorch.lib import boltfile, json
from edgeorch.runtime import errors, tarball
from edgeorch.wire import oci

log = logging.getLogger(__name__)

META = "io.containerd.metadata.v1.bolt/meta.db"
_SNAPSHOTTER = "io.containerd.snapshotter.v1."
_BLOBS = "io.containerd.content.v1.content/blobs"
SALVAGE = "edgeorch-salvage"
"""In containerd's root: the blobs that were there, until their images are made anew."""
_KEPT = ".damaged"
_NAME = "io.containerd.image.name"


class State(Struct, frozen=True):
    """Where containerd keeps its state."""

    root: Path
    snapshotter: str

    @property
    def databases(self) -> list[Path]:
        return [self.root / META, self._layers / "metadata.db"]

    @property
    def _layers(self) -> Path:
        return self.root / f"{_SNAPSHOTTER}{self.snapshotter}"

    def problem(self) -> str | None:
        """Which of its files is damaged, and how. Only while it is down. Raises OSError."""
        for path in self.databases:
            if (told := boltfile.problem(path)) is not None:
                return f"{path}: {told}"
        return None

    def set_aside(self) -> Path:
        """Leave nothing that keeps it from starting; where the damaged file is kept.

        Layers go: they are unpacked anew from the blobs. Raises OSError.
        """
        kept = (self.root / META).with_suffix(_KEPT)
        for path in self.databases:
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_suffix(_KEPT))
        salvage = self.root / SALVAGE
        salvage.mkdir(mode=0o700, exist_ok=True)
        blobs = self.root / _BLOBS
        if blobs.exists():
            _merge(blobs, salvage / "blobs")
        # Mounts of containers that still run keep their own hold of it.
        shutil.rmtree(self._layers / "snapshots", ignore_errors=True)
        return kept

    @property
    def salvage(self) -> Path:
        return self.root / SALVAGE


def _merge(source: Path, target: Path) -> None:
    """What an earlier salvage has left stays."""
    for path in source.glob("*/*"):
        there = target / path.relative_to(source)
        there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.replace(there)


class Layout:
    """The salvaged blobs as an OCI image layout, read as an archive is."""

    def __init__(self, folder: Path, images: Mapping[str, oci.Descriptor]) -> None:
        self._folder = folder
        entries = [
            {
                "mediaType": target.media_type,
                "digest": target.digest,
                "size": target.size,
                "annotations": {_NAME: name},
            }
            for name, target in images.items()
        ]
        self._index = json.encode({"schemaVersion": 2, "manifests": entries})

    def __contains__(self, name: str) -> bool:
        return name == "index.json" or (self._folder / name).is_file()

    def size(self, name: str) -> int:
        return len(self._index) if name == "index.json" else (self._folder / name).stat().st_size

    def read(self, name: str, limit: int) -> bytes:
        """Raises BadArchive."""
        if name == "index.json":
            return self._index
        if self.size(name) > limit:
            raise errors.BadArchive(f"{name} is larger than {limit} bytes")
        return (self._folder / name).read_bytes()

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[tarball.MemberReader]:
        handle = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield tarball.MemberReader(handle, 0, self.size(name), name)
        finally:
            os.close(handle)
