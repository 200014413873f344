"""subPath: a part of a volume, held by a bind mount from the moment it was looked up.

Containers that write to the volume may put links in the way, also between the look and the mount:
the kernel resolves the path inside the volume in one go (openat2(2)) and what it found is mounted
by descriptor, so that nothing outside the volume is ever shown. The mounts lie beside the
sandbox's files and go with them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat

from edgeorch.agent import linux
from edgeorch.agent.volumes.errors import VolumeError


def pin(volume: pathlib.Path, part: str, target: pathlib.Path) -> None:
    """Show what is at `part` of the volume at `target`; missing directories are made as the
    volume's own. Raises VolumeError, OSError."""
    root = os.open(volume, os.O_PATH | os.O_CLOEXEC)
    try:
        found = _open(root, part)
        try:
            _mount(found, target)
        finally:
            os.close(found)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ELOOP):
            raise VolumeError(f"subpath {part} leads out of the volume") from error
        raise
    finally:
        os.close(root)


def _open(root: int, part: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return linux.open_beneath(root, part, os.O_PATH)
    mode = stat.S_IMODE(os.fstat(root).st_mode)
    done = "."
    for name in part.split("/"):
        parent = linux.open_beneath(root, done, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _make(parent, name, mode)
        finally:
            os.close(parent)
        done = f"{done}/{name}"
    return linux.open_beneath(root, done, os.O_PATH)


def _make(parent: int, name: str, mode: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchmod(made, mode)
    finally:
        os.close(made)


def _mount(found: int, target: pathlib.Path) -> None:
    while linux.unmount(target):
        pass
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(found).st_mode):
        if target.exists() and not target.is_dir():
            target.unlink()
        target.mkdir(exist_ok=True)
    else:
        if target.is_dir():
            target.rmdir()
        target.touch()
    linux.bind(f"/proc/self/fd/{found}", target)
