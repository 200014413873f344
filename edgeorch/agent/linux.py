"""Kernel interfaces that Python does not have: mounts, and pinned IPC namespaces.

Everything here blocks for well under a millisecond; callers on the event loop go through
`asyncio.to_thread`. Sources: mount(2), umount(2), statfs(2), unshare(2), namespaces(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import struct
import threading

from edgeorch.net import netns

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 0x4000
MS_SHARED = 1 << 20
_MS_BIND = 0x1000
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_CLONE_NEWIPC = 0x08000000
_TMPFS_MAGIC = 0x01021994
_STATFS_SIZE = 256  # more than any architecture's struct statfs

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: pathlib.Path, options: str, flags: int = MS_NOSUID | MS_NODEV) -> None:
    _mount("tmpfs", str(target), "tmpfs", flags, options)


def share(target: pathlib.Path) -> None:
    """Let mounts made below `target` later appear in every copy of it."""
    _mount("none", str(target), "", MS_SHARED | MS_REC, "")


def unmount(target: pathlib.Path) -> bool:
    """Whether something was mounted there. What is in use disappears once it is no longer."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT):
        return False
    raise _failure(f"cannot unmount {target}")


def is_tmpfs(path: pathlib.Path) -> bool:
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        raise _failure(f"cannot look at {path}")
    (magic,) = struct.unpack_from("l", buffer.raw)
    return bool(magic == _TMPFS_MAGIC)


def mount_points(under: pathlib.Path) -> list[pathlib.Path]:
    """Mounts at or below `under`, innermost first."""
    prefix = str(under)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            point = line.split(" ", 5)[4].encode().decode("unicode_escape", "surrogateescape")
            if point == prefix or point.startswith(f"{prefix}/"):
                found.append(pathlib.Path(point))
    return list(reversed(found))


def pin_ipc(pin: pathlib.Path) -> None:
    """A new IPC namespace, held by a bind mount on `pin`."""
    while unmount(pin):
        pass
    pin.touch()
    netns.in_thread(lambda: _unshare_onto(pin))


def _unshare_onto(pin: pathlib.Path) -> None:
    if _libc.unshare(_CLONE_NEWIPC) != 0:
        raise _failure("cannot create an IPC namespace")
    _mount(f"/proc/self/task/{threading.get_native_id()}/ns/ipc", str(pin), "", _MS_BIND, "")


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    code = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    if code != 0:
        raise _failure(f"cannot mount {target}")


def _failure(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")
