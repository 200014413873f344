"""Kernel interfaces that Python does not have: mounts, namespaces and what is set in them.

Everything here blocks for well under a millisecond; callers on the event loop go through
`asyncio.to_thread`. Sources: mount(2), umount(2), pivot_root(2), statfs(2), unshare(2), setns(2),
namespaces(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import re
import struct
import threading
from collections.abc import Mapping, Sequence

from edgeorch.net import netns

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 0x4000
MS_SHARED = 1 << 20
_MS_REMOUNT = 32
_MS_BIND = 0x1000
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWPID = 0x20000000
_SYSCTL = pathlib.Path("/proc/sys")
_TMPFS_MAGIC = 0x01021994
_STATFS_SIZE = 256  # more than any architecture's struct statfs

_SYS_OPENAT2 = 437  # the same on all architectures
_RESOLVE_NO_XDEV = 1
_RESOLVE_NO_MAGICLINKS = 2
_RESOLVE_NO_SYMLINKS = 4
_RESOLVE_BENEATH = 8

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: pathlib.Path, options: str, flags: int = MS_NOSUID | MS_NODEV) -> None:
    _mount("tmpfs", str(target), "tmpfs", flags, options)


def mount_huge_pages(target: pathlib.Path, options: str) -> None:
    _mount("nodev", str(target), "hugetlbfs", 0, options)


def mount_overlay(layers: list[str], target: pathlib.Path) -> None:
    """The directories as one, read-only, topmost first; there must be two or more."""
    options = f"lowerdir={':'.join(layers)}"
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("overlay", str(target), "overlay", flags, options)


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


def open_beneath(root: int, path: str, flags: int, *, here: bool = False) -> int:
    """A descriptor of what `path` leads to, resolved by the kernel in one go and never out of the
    directory `root`, neither by a link nor by `..`. `here`: nor into another mount, nor by any
    link.

    Raises OSError: EXDEV for what leads out. Source: openat2(2).
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
    if here:
        resolve |= _RESOLVE_NO_XDEV | _RESOLVE_NO_SYMLINKS
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    while True:
        found = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(root),
            os.fsencode(path),
            ctypes.c_char_p(how),
            ctypes.c_size_t(len(how)),
        )
        if found >= 0:
            return int(found)
        # Something was renamed meanwhile, so that the kernel cannot tell.
        if ctypes.get_errno() != errno.EAGAIN:
            raise _failure(f"cannot open {path}")


def bind(source: str, target: pathlib.Path) -> None:
    """Show `source` (a path, also /proc/self/fd/N) at `target` too, with the mounts below it."""
    _mount(source, str(target), "", _MS_BIND | MS_REC, "")


def propagation(path: pathlib.Path) -> tuple[str, bool, bool]:
    """Of the mount that `path` lies in: where it is, whether it is shared, whether it follows."""
    best, fields = "", []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split(" ")
            point = _unescaped(words[4])
            inside = path == pathlib.Path(point) or str(path).startswith(f"{point.rstrip('/')}/")
            if inside and len(point) >= len(best):
                best, fields = point, words[6 : words.index("-")]
    shared = any(word.startswith("shared:") for word in fields)
    return best, shared, any(word.startswith("master:") for word in fields)


def mount_points(under: pathlib.Path) -> list[pathlib.Path]:
    """Mounts at or below `under`, innermost first."""
    prefix = str(under)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            point = _unescaped(line.split(" ", 5)[4])
            if point == prefix or point.startswith(f"{prefix}/"):
                found.append(pathlib.Path(point))
    return list(reversed(found))


def _unescaped(point: str) -> str:
    """Spaces and the like stand as octal numbers in mountinfo; see proc(5)."""
    if "\\" not in point:
        return point
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def pin_ipc(target: pathlib.Path) -> None:
    """A new IPC namespace, held by a bind mount on `target`."""
    while unmount(target):
        pass
    target.touch()
    netns.in_thread(lambda: _unshare_onto(target))


def _unshare_onto(target: pathlib.Path) -> None:
    if _libc.unshare(_CLONE_NEWIPC) != 0:
        raise _failure("cannot create an IPC namespace")
    pin(pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/ns/ipc"), target)


def pin(namespace: pathlib.Path, target: pathlib.Path) -> None:
    """Hold a namespace by a bind mount on the file `target`."""
    _mount(str(namespace), str(target), "", _MS_BIND, "")


def enter_empty_root(root: pathlib.Path) -> None:
    """Leave the host: from now on the calling thread sees only `root`, which becomes read-only, and
    its next child is the first of a new PID namespace. The thread must end soon."""
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID) != 0:
        raise _failure("cannot create a PID namespace")
    _mount("none", "/", "", MS_REC | _MS_PRIVATE, "")
    _mount(str(root), str(root), "", _MS_BIND, "")
    _mount("none", str(root), "", _MS_REMOUNT | _MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, "")
    os.chdir(root)
    if _libc.pivot_root(b".", b".") != 0:
        raise _failure(f"cannot make {root} the root")
    if _libc.umount2(b".", _MNT_DETACH) != 0:
        raise _failure("cannot let go of the old root")
    os.chdir("/")


def write_sysctls(values: Mapping[str, str], namespaces: Sequence[pathlib.Path]) -> None:
    """Set kernel parameters (paths below /proc/sys) in the pinned `namespaces`."""
    netns.in_thread(lambda: _write_within(values, namespaces))


def _write_within(values: Mapping[str, str], namespaces: Sequence[pathlib.Path]) -> None:
    for each in namespaces:
        with each.open("rb") as held:
            if _libc.setns(held.fileno(), 0) != 0:
                raise _failure(f"cannot enter {each}")
    for name, value in values.items():
        (_SYSCTL / name).write_text(value)


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
