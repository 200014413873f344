"""Removing directories, and nothing but what lies in them.

A volume may hold links to anywhere and, where containers may mount, mounts of anything. Neither is
followed: every step goes down by descriptor, and the kernel refuses those that would cross a mount
(openat2(2), RESOLVE_NO_XDEV; Linux 5.6).
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat

from edgeorch.agent import linux


def remove_with_mounts(folder: pathlib.Path) -> None:
    """Take off what is mounted in it, then remove it. Raises OSError when that cannot be."""
    for point in linux.mount_points(folder):
        linux.unmount(point)
    remove_tree(folder)


def remove_tree(folder: pathlib.Path) -> None:
    """It may be gone already. Raises OSError (EXDEV) when something is mounted in it, in which case
    what is mounted has been left as it was."""
    try:
        parent = os.open(folder.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            _remove(parent, folder.name)
    finally:
        os.close(parent)


def _remove(parent: int, name: str) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    inner = linux.open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY, here=True)
    try:
        for entry in os.listdir(inner):
            with contextlib.suppress(FileNotFoundError):
                _remove(inner, entry)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)
