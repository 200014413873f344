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
        below = ["."]
        while below:
            path = below.pop()
            below += [f"{path}/{name}" for name in _give_within(root, path, group)]
        _change(root, group)
    finally:
        os.close(root)


def _is_given(found: os.stat_result, group: int) -> bool:
    wanted = _WRITES | _ENTERS | _SETGID
    return found.st_gid == group and found.st_mode & wanted == wanted


def _give_within(root: int, path: str, group: int) -> list[str]:
    """Of what lies in the folder at `path`, the folders."""
    with contextlib.ExitStack() as stack:
        held = _held(stack, root, path, os.O_RDONLY | os.O_DIRECTORY)
        if held is None:
            return []
        return [name for name in os.listdir(held) if _give(held, name, group)]


def _give(parent: int, name: str, group: int) -> bool:
    """Whether it is a folder, to go on in."""
    with contextlib.ExitStack() as stack:
        held = _held(stack, parent, name, os.O_PATH | os.O_NOFOLLOW)
        if held is None:
            return False
        mode = os.fstat(held).st_mode
        if stat.S_ISLNK(mode):
            with contextlib.suppress(FileNotFoundError):
                os.chown(name, -1, group, dir_fd=parent, follow_symlinks=False)
        else:
            _change(held, group)
        return stat.S_ISDIR(mode)


def _held(stack: contextlib.ExitStack, root: int, path: str, flags: int) -> int | None:
    """None for another mount, and for what is gone or was put in the way meanwhile."""
    try:
        found = linux.open_beneath(root, path, flags, here=True)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    stack.callback(os.close, found)
    return found


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
