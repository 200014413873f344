"""The directories of PersistentVolumes of class `local-path`.

Owns everything in its root. They outlive pods, restarts and reboots; only `remove` ends them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib

from edgeorch.agent.volumes import removal
from edgeorch.lib import files

log = logging.getLogger(__name__)

RECORD = "volumes-root"
"""In the data directory: every root there has been, one a line, for who removes edgeorch."""

_ROOT_MODE = 0o700
_MODE = 0o777
"""Whoever the containers run as writes there; the host's users do not get past the root."""


class VolumeFolders:
    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    @property
    def root(self) -> str:
        return str(self._root)

    async def make(self, name: str) -> None:
        await asyncio.to_thread(self._make, self._named(name))

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(removal.remove_tree, self._named(name))

    def _named(self, name: str) -> pathlib.Path:
        if not name or name.startswith(".") or "/" in name:
            raise OSError(f"{name!r} is no name of a volume's directory")
        return self._root / name

    def _make(self, folder: pathlib.Path) -> None:
        if not self._root.exists():
            self._root.mkdir(mode=_ROOT_MODE, parents=True)
            self._root.chmod(_ROOT_MODE)
        folder.mkdir(exist_ok=True)
        folder.chmod(_MODE)


def note_root(data_dir: pathlib.Path, root: pathlib.Path) -> None:
    """Remember the root beyond changes of the configuration: there are users' data below it.

    Blocks."""
    record = data_dir / RECORD
    line = os.fsencode(root) + b"\n"
    try:
        known = record.read_bytes() if record.exists() else b""
        if line not in known.splitlines(keepends=True):
            files.write_atomically(record, known + line, mode=0o600)
    except OSError as error:
        log.warning("Cannot remember that volumes are in %s: %s", root, error)
