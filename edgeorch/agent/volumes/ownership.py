"""fsGroup: a volume's files belong to the pod's group and let it in.

As SetVolumeOwnership of the kubelet (pkg/volume/volume_linux.go). Containers that still use the
volume may change it meanwhile, so that nothing is followed: files are held while they are changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat

from edgeorch.agent import linux

ON_ROOT_MISMATCH = "OnRootMismatch"
_WRITES, _ENTERS, _SETGID = 0o660, 0o110, 0o2000


def give(folder: pathlib.Path, group: int, policy: str = "") -> None:
    """Let members of `group` read, write and enter everything in `folder`; what is mounted in it is
    left alone. Raises OSError."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if policy == ON_ROOT_MISMATCH and _is_given(os.fstat(root), group):
            return
        # The root goes last: until it has, everything is done again after a crash.
        for _, directories, files, descriptor in os.fwalk(".", topdown=True, dir_fd=root):
            directories[:] = [each for each in directories if not _is_mounted(descriptor, each)]
            for name in (*files, *directories):
                _give(descriptor, name, group)
        _change(root, group)
    finally:
        os.close(root)


def _is_given(found: os.stat_result, group: int) -> bool:
    wanted = _WRITES | _ENTERS | _SETGID
    return found.st_gid == group and found.st_mode & wanted == wanted


def _is_mounted(parent: int, name: str) -> bool:
    """Whether the directory is another mount."""
    try:
        os.close(linux.open_beneath(parent, name, os.O_PATH, here=True))
    except OSError as error:
        return error.errno == errno.EXDEV
    return False


def _give(parent: int, name: str, group: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if stat.S_ISLNK(os.fstat(held).st_mode):
                os.chown(name, -1, group, dir_fd=parent, follow_symlinks=False)
            else:
                _change(held, group)
        finally:
            os.close(held)


def _change(descriptor: int, group: int) -> None:
    found = os.fstat(descriptor)
    place = f"/proc/self/fd/{descriptor}"
    mode = stat.S_IMODE(found.st_mode) | _WRITES
    if stat.S_ISDIR(found.st_mode):
        mode |= _ENTERS | _SETGID
    if found.st_gid != group:
        os.chown(place, -1, group)
    if stat.S_IMODE(found.st_mode) != mode or found.st_gid != group:
        os.chmod(place, mode)
