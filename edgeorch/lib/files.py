"""Files that are whole or absent: written aside, flushed to the medium, renamed into place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib


def write_atomically(path: pathlib.Path, data: bytes, *, mode: int) -> None:
    """Replace `path`. The directory is made when absent. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_directory(path.parent)


def ensure_secret(path: pathlib.Path, size: int) -> bytes:
    """Random bytes that are the same from the first time on; readable by root only."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) != size:
        found = os.urandom(size)
        write_atomically(path, found, mode=0o600)
    return found


def sync_directory(path: pathlib.Path) -> None:
    """Make renames and removals in `path` durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
