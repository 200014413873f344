"""Telling systemd: READY, STOPPING, WATCHDOG. Source: sd_notify(3).

Without NOTIFY_SOCKET in the environment nothing is sent.
"""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> bool:
    """Send assignments such as `READY=1`; whether somebody was there to be told."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            # A service manager that does not listen is no reason to stop serving.
            return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between signs of life (half of what systemd allows), None when it asks for none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or meant_for not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 2e6
