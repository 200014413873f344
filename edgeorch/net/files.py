"""Small state files under the run directory, which is a tmpfs: written whole or not at all."""

from __future__ import annotations

import os
import pathlib
import threading

_turn = threading.Lock()
"""Threads that write the same file share its scratch name."""


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Readers see the old bytes or the new ones. Not fsynced: the files die with the boot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    with _turn:
        scratch.write_bytes(data)
        os.replace(scratch, path)
