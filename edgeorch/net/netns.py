"""Network namespaces, pinned by bind mounts under `<run_dir>/netns`.

Namespaces are entered by helper threads only (unshare(2), setns(2) act on one thread), never by
forking and never by the main thread, so the process stays in its own namespace whatever happens.
Python has os.setns from 3.12 on; 3.11 needs ctypes. Everything here blocks for well under a
millisecond; callers on the event loop go through `asyncio.to_thread`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 1 << 20
UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


def prepare(folder: pathlib.Path) -> None:
    """Make `folder` a shared mount of its own, as iproute2 does with /run/netns.

    Pins made later are then seen in every mount namespace that holds a copy of it (containerd in
    its own mount namespace), and their removal too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if not _mount_points(folder) & {str(folder.resolve())}:
        _mount(str(folder), str(folder), MS_BIND | MS_REC)
    _mount("none", str(folder), MS_SHARED | MS_REC)


def dismantle(folder: pathlib.Path) -> None:
    """Undo `prepare`: remove every pin, the mount and the folder. Repeatable."""
    if not folder.exists():
        return
    for pin in list(folder.iterdir()):
        remove(pin)
    while _unmount(str(folder)):
        pass
    folder.rmdir()


def create(pin: pathlib.Path) -> None:
    """A new network namespace, held by a bind mount on `pin`. An older pin there is replaced."""
    remove(pin)
    os.close(os.open(pin, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        in_thread(lambda: _unshare_onto(str(pin)))
    except OSError:
        pin.unlink(missing_ok=True)
        raise


def remove(pin: pathlib.Path) -> None:
    """Unmount and unlink; a pin that is half made or gone already is no error."""
    while _unmount(str(pin)):
        pass
    pin.unlink(missing_ok=True)


def is_pinned(pin: pathlib.Path) -> bool:
    """Whether `pin` is a mount: a bare file is what an interrupted `create` leaves."""
    try:
        return os.stat(pin).st_dev != os.stat(pin.parent).st_dev
    except FileNotFoundError:
        return False


def open_fd(pin: pathlib.Path) -> int:
    """The namespace as a descriptor, for netlink attributes and setns. The caller closes it."""
    return os.open(pin, os.O_RDONLY | os.O_CLOEXEC)


def run_in(pin: pathlib.Path, fn: Callable[[], T]) -> T:
    """Call `fn` in a thread inside the namespace; sockets that it opens stay in there."""
    fd = open_fd(pin)
    try:
        return in_thread(lambda: _entered(fd, fn))
    finally:
        os.close(fd)


def in_thread(fn: Callable[[], T]) -> T:
    """Call `fn` in a thread that ends with it, and so does what it changed about itself."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(fn())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _entered(fd: int, fn: Callable[[], T]) -> T:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise _failure("cannot enter the network namespace")
    return fn()


def _unshare_onto(pin: str) -> None:
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise _failure("cannot create a network namespace")
    _mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", pin, MS_BIND)


def _mount(source: str, target: str, flags: int) -> None:
    code = _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)
    if code != 0:
        raise _failure(f"cannot mount {target}")


def _unmount(target: str) -> bool:
    """Whether something was unmounted."""
    if _libc.umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT):
        return False
    raise _failure(f"cannot unmount {target}")


def _failure(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def _mount_points(under: pathlib.Path) -> set[str]:
    wanted = str(under.resolve())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = (line.split(" ", 5)[4] for line in file)
        return {
            point for point in (p.replace("\\040", " ") for p in points) if point.startswith(wanted)
        }
