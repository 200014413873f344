"""A copy of the store in memory, to read from where the medium can be read and not written.

A process that ends while the medium is read-only must not leave the device without its API: what is
there is served, nothing is taken in, and the file itself is opened again as soon as it can be.
Everything here blocks.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib


def take(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Copy the store with what its log holds; where the copy is. Raises OSError.

    Without the index of the log (-shm), which is made anew from it.
    """
    drop(folder)
    folder.mkdir(parents=True, mode=0o700)
    copied = folder / path.name
    shutil.copyfile(path, copied)
    copied.chmod(0o600)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(f"{path}-wal", f"{copied}-wal")
    return copied


def drop(folder: pathlib.Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
