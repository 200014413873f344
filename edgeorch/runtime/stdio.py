"""FIFOs between the shim and this process.

The shim opens each output FIFO for writing and for reading, so it never sees a broken pipe and
nothing in the pipe is lost while this process is away. When the container ends it closes both, and
what is in the pipe is gone unless somebody else has it open: the service manager is asked to
(`Keeper`). The shim holds the write side of stdin as well: closing ours is not end-of-file, CloseIO
is.

A container's FIFOs live in <run_dir>/io/<container id>/, an exec's in a folder below that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from edgeorch.lib import sdnotify

# What a chatty container may write ahead of us, also while this process restarts.
PIPE_SIZE = 1024 * 1024


class Stdio(Struct, frozen=True):
    """Paths as the tasks service takes them; "" is none. A terminal has no stderr of its own."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False

    def outputs(self) -> dict[str, str]:
        """Stream name → path."""
        named = {"stdout": self.stdout, "stderr": self.stderr}
        return {name: path for name, path in named.items() if path}


class StdioDir:
    """Makes and removes the FIFOs under one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._root = run_dir / "io"

    def make(
        self, container_id: str, exec_id: str = "", *, terminal: bool = False, stdin: bool = False
    ) -> Stdio:
        """Idempotent: FIFOs that are there are kept, with what is in them."""
        folder = self.folder(container_id, exec_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stdio = self.paths(container_id, exec_id, terminal=terminal, stdin=stdin)
        for path in (stdio.stdin, stdio.stdout, stdio.stderr):
            if path:
                with contextlib.suppress(FileExistsError):
                    os.mkfifo(path, 0o600)
        return stdio

    def paths(
        self, container_id: str, exec_id: str = "", *, terminal: bool = False, stdin: bool = False
    ) -> Stdio:
        folder = self.folder(container_id, exec_id)
        return Stdio(
            stdin=str(folder / "stdin") if stdin else "",
            stdout=str(folder / "stdout"),
            stderr="" if terminal else str(folder / "stderr"),
            terminal=terminal,
        )

    def remove(self, container_id: str, exec_id: str = "") -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder(container_id, exec_id))

    @contextlib.contextmanager
    def read(self, container_id: str, exec_id: str = "") -> Iterator[None]:
        """Somebody is at the other end of the outputs that are there: an opener is let through."""
        with contextlib.ExitStack() as ends:
            for path in self.paths(container_id, exec_id).outputs().values():
                with contextlib.suppress(FileNotFoundError):
                    ends.callback(os.close, open_output(path))
            yield

    def exec_ids(self, container_id: str) -> list[str]:
        """Of a container, those whose folder is there."""
        found = sorted((self._root / container_id).glob("exec-*"))
        return [folder.name.removeprefix("exec-") for folder in found]

    def container_ids(self) -> list[str]:
        """Containers that have a folder, with or without a record in containerd."""
        try:
            return sorted(entry.name for entry in self._root.iterdir())
        except FileNotFoundError:
            return []

    def folder(self, container_id: str, exec_id: str = "") -> Path:
        folder = self._root / container_id
        return folder / f"exec-{exec_id}" if exec_id else folder


class Keeper:
    """Has the service manager hold the output pipes open while this process is away.

    systemd does for as long as it restarts or is told to restart the service (sd_notify(3),
    FDSTORE). Without one, the last words of a container that ends meanwhile are lost.
    """

    def __init__(self) -> None:
        self._kept = set(sdnotify.inherited())

    def keep(self, container_id: str, fds: Mapping[str, int]) -> None:
        for stream, fd in fds.items():
            name = f"{container_id}.{stream}"
            if name not in self._kept and sdnotify.store(name, fd):
                self._kept.add(name)

    def forget(self, container_id: str) -> None:
        for stream in ("stdout", "stderr"):
            self._drop(f"{container_id}.{stream}")

    def forget_all_but(self, container_ids: Collection[str]) -> None:
        for name in list(self._kept):
            if name.rpartition(".")[0] not in container_ids:
                self._drop(name)

    def _drop(self, name: str) -> None:
        if name in self._kept:
            self._kept.discard(name)
            sdnotify.unstore(name)


def open_output(path: str) -> int:
    """The reading end, non-blocking, widened; before the shim opens the other."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    # Without CAP_SYS_RESOURCE the kernel may refuse; the pipe then keeps its 64 KiB.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return fd


def open_stdin(path: str) -> tuple[int, int]:
    """(writing end, reading end). Keep the reading end open, unread, as long as the process lives:

    a FIFO cannot be opened for writing before it has a reader, and breaks when it loses its last.
    """
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except BaseException:
        os.close(reader)
        raise
    return writer, reader
