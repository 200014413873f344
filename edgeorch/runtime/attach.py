"""A running container's own streams: its output as it is read for the log, its stdin, its terminal.

Output comes from where the log comes from (`Logs.listening`), so an attached client sees what is
written from now on and never takes anything from the log. A client that is behind holds the
container up, as with the kubelet; but a device must not stand still because somebody pressed
Ctrl-S, so one that takes nothing for STALL seconds is let go.

Endings are containerd's (its CRI plugin's `ContainerIO.Attach`): with `once`, and no terminal, the
end of the client's stdin is the end of the container's; else the client is merely detached.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from edgeorch.runtime import client, errors, logs, stdio
from edgeorch.runtime.pb import tasks_pb2

QUEUE = 256 * 1024
STALL = 30.0


class Attachments:
    def __init__(self, containerd: client.Client, output: logs.Logs) -> None:
        self._client = containerd
        self._output = output

    @contextlib.asynccontextmanager
    async def open(
        self, container_id: str, *, stdin: bool, once: bool, tty: bool
    ) -> AsyncIterator[Attachment]:
        """Raises NotFound when the container does not run here."""
        made = Attachment(self._client, container_id, closes_stdin=once and not tty, tty=tty)
        with contextlib.ExitStack() as stack:
            try:
                tapped = stack.enter_context(self._output.listening(container_id, made))
            except KeyError:
                raise errors.NotFound(f"container {container_id} does not run") from None
            await made.begin(tapped, stdin=stdin)
            try:
                yield made
            finally:
                await made.close()


class Attachment:
    """One attached client. Also the listener at the log's source."""

    def __init__(
        self, containerd: client.Client, container_id: str, *, closes_stdin: bool, tty: bool
    ) -> None:
        self._client = containerd
        self._container_id = container_id
        self._closes_stdin = closes_stdin
        names = ("stdout",) if tty else ("stdout", "stderr")
        self._pieces: dict[str, collections.deque[bytes]] = {
            name: collections.deque() for name in names
        }
        self._size = 0
        self._changed: dict[str, asyncio.Event] = {name: asyncio.Event() for name in names}
        self._ended = asyncio.Event()
        self._stalled = False
        self._timer: asyncio.TimerHandle | None = None
        self._tapped: logs.Tapped | None = None
        self._stdin: tuple[int, int] | None = None

    # --- the client's side ----------------------------------------------------------------------

    def outputs(self) -> dict[str, AsyncIterator[bytes]]:
        """Each to be read by one reader to its end."""
        return {name: self._read(name) for name in self._pieces}

    async def wait(self) -> int:
        """0 once there is no more output. Raises ContainerdError when the client was let go."""
        await self._ended.wait()
        if self._stalled:
            raise errors.ContainerdError(f"output was not taken for {STALL:.0f} s")
        return 0

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._stdin is not None and not self._ended.is_set():
            try:
                view = view[os.write(self._stdin[0], view) :]
            except BlockingIOError:
                await self._writable(self._stdin[0])
            except BrokenPipeError:
                return

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        self._close_fds()
        if not self._closes_stdin:
            self.end()
            return
        request = tasks_pb2.CloseIORequest(container_id=self._container_id, stdin=True)
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.CloseIO, request)

    async def resize(self, width: int, height: int) -> None:
        request = tasks_pb2.ResizePtyRequest(
            container_id=self._container_id, width=width, height=height
        )
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.ResizePty, request)

    async def begin(self, tapped: logs.Tapped, *, stdin: bool) -> None:
        self._tapped = tapped
        if stdin and tapped.io.stdin:
            self._stdin = await asyncio.to_thread(stdio.open_stdin, tapped.io.stdin)

    async def close(self) -> None:
        """The client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._closes_stdin and not self._ended.is_set():
                await self.close_stdin()
        finally:
            self._close_fds()

    # --- the container's side -------------------------------------------------------------------

    @property
    def full(self) -> bool:
        return self._size >= QUEUE and not self._ended.is_set()

    def take(self, stream: str, data: bytes) -> None:
        if self._ended.is_set():
            return
        self._pieces[stream].append(data)
        self._size += len(data)
        self._changed[stream].set()
        if self.full and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STALL, self._give_up)

    def end(self) -> None:
        self._ended.set()
        for changed in self._changed.values():
            changed.set()

    # --- between --------------------------------------------------------------------------------

    def _give_up(self) -> None:
        self._stalled = True
        for pieces in self._pieces.values():
            pieces.clear()
        self.end()
        self._adjust()

    async def _read(self, name: str) -> AsyncIterator[bytes]:
        pieces, changed = self._pieces[name], self._changed[name]
        while True:
            while pieces:
                data = pieces.popleft()
                self._size -= len(data)
                self._taken()
                yield data
            if self._ended.is_set():
                return
            changed.clear()
            await changed.wait()

    def _taken(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._adjust()

    def _adjust(self) -> None:
        if self._tapped is not None:
            self._tapped.adjust()

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(fd, ready.set)
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(ready.wait()),
            asyncio.create_task(self._ended.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_writer(fd)
            for task in waiting:
                task.cancel()

    def _close_fds(self) -> None:
        fds, self._stdin = self._stdin, None
        for fd in fds or ():
            os.close(fd)
