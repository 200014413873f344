"""Removing directories, and nothing but what lies in them.

A volume may hold links to anywhere and, where containers may mount, mounts of anything. Neither is
followed: every step goes down by descriptor, and the kernel refuses those that would cross a mount
(openat2(2), RESOLVE_NO_XDEV; Linux 5.6). However deep they lie, few directories are held open.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import stat

from edgeorch.agent import linux

_DEEPEST = 64
"""Directories held open, one in the other; what lies deeper is moved to the top first."""


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
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    inner = _opened(parent, name)
    try:
        # Again for what was moved here from the depths.
        while entries := os.listdir(inner):
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    _descend(inner, entry, inner, 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)


def _descend(parent: int, name: str, top: int, depth: int) -> None:
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    if depth == _DEEPEST:
        os.rename(name, f".{secrets.token_hex(8)}", src_dir_fd=parent, dst_dir_fd=top)
        return
    inner = _opened(parent, name)
    try:
        for entry in os.listdir(inner):
            with contextlib.suppress(FileNotFoundError):
                _descend(inner, entry, top, depth + 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _opened(parent: int, name: str) -> int:
    return linux.open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY, here=True)
