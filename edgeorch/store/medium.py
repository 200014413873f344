"""Why the medium refuses: found out by writing to it, told with what helps.

SQLite tells a full disk and a read-only one, but not a broken one from one that has run out of
inodes, nor which file system it is. Blocks; called only when a transaction has failed.
"""

from __future__ import annotations

import errno
import os
import pathlib
import tempfile

from msgspec import Struct

_PROBE = 64 * 1024
"""Bytes: more than any ordinary transaction takes."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Trouble(Struct, frozen=True):
    full: bool
    """It would work again if there was less on it."""
    told: str
    known: bool = True
    """It is the medium's."""


def diagnose(folder: pathlib.Path) -> Trouble | None:
    """What is wrong with the file system that `folder` is on; None when it can be written."""
    try:
        _write(folder)
    except OSError as error:
        return _trouble(folder, error)
    return None


def full(folder: pathlib.Path) -> Trouble:
    """Who is told by others that there is no room."""
    return Trouble(full=True, told=_full(folder))


def _write(folder: pathlib.Path) -> None:
    # It has a name, unlike O_TMPFILE: a directory that cannot grow is full, too.
    handle, name = tempfile.mkstemp(dir=folder, prefix=".probe.")
    try:
        os.write(handle, bytes(_PROBE))
        os.fsync(handle)
    finally:
        os.close(handle)
        os.unlink(name)


def _trouble(folder: pathlib.Path, error: OSError) -> Trouble:
    if error.errno in _FULL:
        return full(folder)
    if error.errno == errno.EROFS:
        told = (
            f"the file system of {folder} is read-only: the kernel's log (dmesg) says why; mount "
            "it writable again, or reboot to have it checked"
        )
    else:
        told = (
            f"the medium of {folder} fails ({error.strerror}): the kernel's log (dmesg) says why; "
            "reboot to have it checked, or replace it"
        )
    return Trouble(full=False, told=told)


def _full(folder: pathlib.Path) -> str:
    helps = "remove images (edgeorch image prune), pods, or data of volumes"
    try:
        found = os.statvfs(folder)
    except OSError:
        return f"the file system of {folder} is full: {helps}"
    if found.f_files and not found.f_ffree:
        return f"the file system of {folder} has no inodes left for new files: {helps}"
    return f"the file system of {folder} is full: {helps}"
