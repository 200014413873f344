"""Container output: from the FIFOs into log files, and back to whoever asks.

Owns the reading ends of all container FIFOs and all log files; nothing else writes them. The event
loop reads a bounded piece of each readable FIFO per turn, so a chatty container cannot starve the
others; one thread writes the files, all pending logs in one hop, so a slow card never blocks the
loop. A container that is ahead of the card is not read until its backlog is written: its pipe
fills and it waits. An idle container costs nothing.

What a killed process had read and not yet written is lost (at most one batch); what is in the pipe
is not, because the shim holds it open: `attach` takes it up again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

from edgeorch.runtime import logfile, stdio
from edgeorch.wire import cri_log

log = logging.getLogger(__name__)

# Short lines grow twentyfold by their stamps, so a piece read is small.
READ_SIZE = 16 * 1024
# Bytes of entries that may be unwritten before a container is not read, and all are not.
BACKLOG = 256 * 1024
TOTAL_BACKLOG = 4 * 1024 * 1024


def log_path(
    log_dir: Path, namespace: str, pod: str, uid: str, container: str, restart: int
) -> Path:
    """Where the kubelet puts it."""
    return log_dir / f"{namespace}_{pod}_{uid}" / container / f"{restart}.log"


class Listener(Protocol):
    """Hears a container's output as it is read, all in the loop's thread."""

    @property
    def full(self) -> bool:
        """Whether it can take no more: the container is not read as long as that lasts."""

    def take(self, stream: str, data: bytes) -> None: ...

    def end(self) -> None:
        """There is no more."""


class Tapped(Protocol):
    """What a listener knows of the container it listens to."""

    io: stdio.Stdio

    def adjust(self) -> None:
        """A listener's `full` has changed."""


class Logs:
    """Make it inside the running event loop; `close` it before the loop ends."""

    def __init__(
        self,
        fifos: stdio.StdioDir,
        *,
        max_size: int = logfile.MAX_SIZE,
        max_files: int = logfile.MAX_FILES,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """`now` gives Unix nanoseconds, for the lines' stamps only."""
        self._fifos = fifos
        self._max_size = max_size
        self._max_files = max_files
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._writer = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._writing: concurrent.futures.Future[dict[_Pump, OSError | None]] | None = None
        self._pumps: dict[str, _Pump] = {}
        self.backlog = 0

    async def attach(
        self, container_id: str, path: Path, *, terminal: bool = False, stdin: bool = False
    ) -> stdio.Stdio:
        """Begin, or after a restart go on, to write a container's output to `path`.

        Before its task is created. The answer is what `Containers.start` wants. Idempotent.
        """
        pump = self._pumps.get(container_id)
        if pump is not None:
            return pump.io
        appender = logfile.Appender(path, max_size=self._max_size, max_files=self._max_files)

        def prepare() -> tuple[stdio.Stdio, dict[str, int]]:
            appender.open()
            io = self._fifos.make(container_id, terminal=terminal, stdin=stdin)
            return io, {name: stdio.open_output(fifo) for name, fifo in io.outputs().items()}

        io, fds = await asyncio.to_thread(prepare)
        pump = _Pump(self, path, appender, io, self._loop)
        self._pumps[container_id] = pump
        pump.begin(fds)
        return io

    async def finish(self, container_id: str, *, grace: float = 2.0) -> None:
        """The container ended: write what it still had to say, and remove its FIFOs.

        A process that outlived the container may hold the pipe; after `grace` seconds nobody waits
        for it.
        """
        pump = self._pumps.get(container_id)
        if pump is not None:
            try:
                async with asyncio.timeout(grace):
                    await pump.done.wait()
            except TimeoutError:
                pump.drain()
                pump.end()
                await pump.done.wait()
            self._pumps.pop(container_id, None)
        await asyncio.to_thread(self._fifos.remove, container_id)

    async def close(self) -> None:
        """Stop reading and write what was read. The FIFOs stay, with what comes meanwhile."""
        pumps = list(self._pumps.values())
        for pump in pumps:
            pump.end()
        for pump in pumps:
            await pump.done.wait()
        self._pumps.clear()
        self._writer.shutdown(wait=True)

    async def read(
        self,
        path: Path,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since: datetime.datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
        stream: str = "",
    ) -> AsyncIterator[bytes]:
        """What `kubectl logs` shows, in blocks. Raises FileNotFoundError.

        `follow` ends when the container's output has ended. Close the iterator when done with it.
        """
        renderer = cri_log.Renderer(
            since=since, timestamps=timestamps, limit_bytes=limit_bytes, stream=stream
        )
        cursor = await asyncio.to_thread(logfile.Cursor, path, tail_lines=tail_lines)
        try:
            while not renderer.full:
                # Taken before reading, so that what is written meanwhile is not missed.
                more = self._more(path) if follow else None
                block, shown = await asyncio.to_thread(_step, cursor, renderer)
                if shown:
                    yield shown
                if not block:
                    if more is None:
                        return
                    await more
        finally:
            cursor.close()

    @contextlib.contextmanager
    def listening(self, container_id: str, listener: Listener) -> Iterator[Tapped]:
        """From now on, until left. Raises KeyError when the container's output is not read."""
        pump = self._pumps[container_id]
        pump.listeners.append(listener)
        if not pump.reading:
            listener.end()
        try:
            yield pump
        finally:
            pump.listeners.remove(listener)
            pump.adjust()

    def _more(self, path: Path) -> asyncio.Future[None] | None:
        """Done when there is something new in a log; None when there will be nothing."""
        for pump in self._pumps.values():
            if pump.path == path and not pump.done.is_set():
                return pump.more
        return None

    # What follows is between this class and its pumps, all in the loop's thread.

    def stamp(self) -> bytes:
        return cri_log.stamp(self._now())

    def kick(self) -> None:
        """Write whatever is pending, unless a batch is under way."""
        if self._writing is not None:
            return
        batch = [(pump, pump.take()) for pump in self._pumps.values() if pump.pending]
        if not batch:
            return
        moment = datetime.datetime.fromtimestamp(self._now() // 1_000_000_000, datetime.UTC)
        self._writing = self._writer.submit(_write, batch, moment)
        self._writing.add_done_callback(
            lambda future: self._loop.call_soon_threadsafe(self._written, future)
        )

    def _written(self, future: concurrent.futures.Future[dict[_Pump, OSError | None]]) -> None:
        self._writing = None
        for pump, error in future.result().items():
            self.backlog -= pump.in_flight
            pump.written(error)
        self.kick()


class _Pump:
    """One container: its FIFOs, what was read of them, its log."""

    def __init__(
        self,
        owner: Logs,
        path: Path,
        appender: logfile.Appender,
        io: stdio.Stdio,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.path = path
        self.appender = appender
        self.io = io
        self.done = asyncio.Event()
        self.more: asyncio.Future[None] = loop.create_future()
        self.pending = 0  # bytes read and not yet handed to the writer
        self.in_flight = 0  # bytes the writer has
        self._owner = owner
        self._loop = loop
        self._entries: list[bytes] = []
        self.listeners: list[Listener] = []
        self._streams: dict[int, cri_log.Formatter] = {}
        self._names: dict[int, str] = {}
        self._paused = False
        self._failing = False

    def begin(self, fds: dict[str, int]) -> None:
        for name, fd in fds.items():
            self._streams[fd] = cri_log.Formatter(name)
            self._names[fd] = name
            self._loop.add_reader(fd, self._readable, fd)

    def drain(self) -> None:
        """Read what is in the pipes now."""
        for fd in list(self._streams):
            for _ in range(stdio.PIPE_SIZE // READ_SIZE + 1):
                if fd not in self._streams or not self._readable(fd):
                    break

    def end(self) -> None:
        """Read no more. What is in the pipes stays there."""
        for fd in list(self._streams):
            self._stream_ended(fd)

    def take(self) -> bytes:
        entries, self._entries = self._entries, []
        self.in_flight, self.pending = self.pending, 0
        return b"".join(entries)

    def written(self, error: OSError | None) -> None:
        self.in_flight = 0
        if error is not None and not self._failing:
            log.warning("Cannot write %s, output is lost: %s", self.path, error)
        self._failing = error is not None
        self.adjust()
        self._check_done()
        self._notify()

    def _readable(self, fd: int) -> bool:
        """Read one piece; False when there is none."""
        try:
            data = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._stream_ended(fd)
            return False
        for listener in self.listeners:
            listener.take(self._names[fd], data)
        self._append(self._streams[fd].feed(data, self._owner.stamp()))
        self.adjust()
        return True

    def adjust(self) -> None:
        """Read on, or pause while the card or a listener is behind.

        `written` takes it up again, so the card counts only with something to be written.
        """
        unwritten = self.pending + self.in_flight
        ahead = unwritten > BACKLOG or self._owner.backlog > TOTAL_BACKLOG
        paused = bool(unwritten and ahead) or any(each.full for each in self.listeners)
        if paused == self._paused:
            return
        self._paused = paused
        for fd in self._streams:
            if paused:
                self._loop.remove_reader(fd)
            else:
                self._loop.add_reader(fd, self._readable, fd)

    @property
    def reading(self) -> bool:
        return bool(self._streams)

    def _stream_ended(self, fd: int) -> None:
        formatter = self._streams.pop(fd, None)
        if formatter is None:
            return
        self._loop.remove_reader(fd)
        os.close(fd)
        self._append(formatter.flush(self._owner.stamp()))
        if not self._streams:
            for listener in self.listeners:
                listener.end()
        self._check_done()

    def _append(self, entries: bytes) -> None:
        if entries:
            self._entries.append(entries)
            self.pending += len(entries)
            self._owner.backlog += len(entries)
            self._owner.kick()

    def _check_done(self) -> None:
        if self._streams or self.pending or self.in_flight or self.done.is_set():
            return
        self.appender.close()
        self.done.set()
        self._notify()

    def _notify(self) -> None:
        more, self.more = self.more, self._loop.create_future()
        more.set_result(None)


def _write(
    batch: list[tuple[_Pump, bytes]], moment: datetime.datetime
) -> dict[_Pump, OSError | None]:
    """In the writer's thread."""
    results: dict[_Pump, OSError | None] = {}
    for pump, entries in batch:
        try:
            pump.appender.write(entries, moment)
            results[pump] = None
        except OSError as error:
            results[pump] = error
    return results


def _step(cursor: logfile.Cursor, renderer: cri_log.Renderer) -> tuple[bool, bytes]:
    """In a thread: (whether anything was read, what of it is shown)."""
    block = cursor.read()
    return bool(block), renderer.feed(block)
