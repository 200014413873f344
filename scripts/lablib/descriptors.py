"""The device's descriptor store: what systemd is to edgeorch on a real device.

edgeorch asks its service manager to hold the output pipes of containers open while it is away
itself (sd_notify(3), FDSTORE); a lab device has no systemd, so this process does it. It takes such
messages on one socket, and tells on another which descriptors it holds.

    python descriptors.py DIRECTORY
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from pathlib import Path

NOTIFY = "notify.sock"
NAMES = "descriptors.sock"
_LARGEST = 4096


def names(directory: Path) -> str:
    """Of the descriptors held, as in LISTEN_FDNAMES; "" where nobody holds any."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(directory / NAMES))
            with asking.makefile() as answer:
                return answer.read()
        except OSError:
            return ""


class Store:
    def __init__(self) -> None:
        self._held: dict[str, list[int]] = {}

    def told(self, text: str, fds: list[int]) -> None:
        said = dict(line.partition("=")[::2] for line in text.splitlines())
        name = said.get("FDNAME", "stored")
        if said.get("FDSTORE") == "1":
            self._held.setdefault(name, []).extend(fds)
            return
        if said.get("FDSTOREREMOVE") == "1":
            fds = [*fds, *self._held.pop(name, [])]
        for fd in fds:
            os.close(fd)

    def names(self) -> str:
        return ":".join(name for name, fds in self._held.items() for _ in fds)


def _bound(path: Path, kind: socket.SocketKind) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(str(path))
    return made


def main(directory: Path) -> None:
    store = Store()
    notices = _bound(directory / NOTIFY, socket.SOCK_DGRAM)
    questions = _bound(directory / NAMES, socket.SOCK_STREAM)
    questions.listen()
    while True:
        ready, _, _ = select.select([notices, questions], [], [])
        if notices in ready:
            data, fds, _, _ = socket.recv_fds(notices, _LARGEST, 16)
            store.told(data.decode(errors="replace"), fds)
        if questions in ready:
            asking, _ = questions.accept()
            with asking, contextlib.suppress(OSError):
                asking.sendall(store.names().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
