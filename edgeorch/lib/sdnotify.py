"""Telling systemd: READY, STOPPING, WATCHDOG, FDSTORE. Source: sd_notify(3).

Without NOTIFY_SOCKET in the environment nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence

_FIRST_FD = 3
"""Of those that systemd hands over, sd_listen_fds(3)."""


def notify(*lines: str, fds: Sequence[int] = ()) -> bool:
    """Send assignments such as `READY=1`; whether somebody was there to be told."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.connect(address)
            socket.send_fds(sender, ["\n".join(lines).encode()], list(fds))
        except OSError:
            # A service manager that does not listen is no reason to stop serving.
            return False
    return True


def store(name: str, fd: int) -> bool:
    """Have systemd hold a descriptor open beyond this process; whether it was told.

    It is not to close it because the other end hangs up: what is in a pipe is to stay.
    """
    return notify("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=[fd])


def unstore(name: str) -> bool:
    return notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def inherited() -> list[str]:
    """Names of the descriptors that systemd holds for us. Call it once.

    The copies that it gave to this process are closed: that it holds them is enough.
    """
    meant_for = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "")
    if meant_for != str(os.getpid()) or not count.isdigit():
        return []
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        with contextlib.suppress(OSError):
            os.close(fd)
    return names.split(":") if names else []


def watchdog_interval() -> float | None:
    """Seconds between signs of life (half of what systemd allows), None when it asks for none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or meant_for not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 2e6
