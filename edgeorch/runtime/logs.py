"""Container output: from the FIFOs into log files, and back to whoever asks.

Owns the reading ends of all container FIFOs and all log files; nothing else writes them. A thread
(`logpump`) carries the output; this is the event loop's side of it: begin, finish, read, follow,
listen. An idle container costs nothing.

Nothing is lost or doubled when this process is killed (`spool`). What is in a pipe while it is away
stays there as long as somebody holds the pipe open: the shim does until the container ends, and
after that the service manager's descriptor store (`stdio.Keeper`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from edgeorch.runtime import logfile, logpump, logspace, stdio
from edgeorch.wire import cri_log

log = logging.getLogger(__name__)


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
        keeper: stdio.Keeper | None = None,
        space: logspace.Space | None = None,
    ) -> None:
        """`now` gives Unix nanoseconds, for the lines' stamps only."""
        self._fifos = fifos
        self._max_size = max_size
        self._max_files = max_files
        self._now = now
        self._keeper = keeper or stdio.Keeper()
        self._space = space
        self._loop = asyncio.get_running_loop()
        self._thread = logpump.LogThread()
        self.pack = True
        """Whether rotated logs are compressed, which is one more write of each."""
        self._sources: dict[str, _Source] = {}
        self._housekeeper = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="old logs")
        self._tidying: dict[str, concurrent.futures.Future[None]] = {}
        self._keeper.forget_all_but(fifos.container_ids())

    async def attach(
        self,
        container_id: str,
        path: Path,
        *,
        link: Path | None = None,
        terminal: bool = False,
        stdin: bool = False,
    ) -> stdio.Stdio:
        """Begin, or after a restart go on, to write a container's output to `path`.

        Before its task is created. `link` is to lead to it. The answer is what `Containers.start`
        wants. Idempotent.
        """
        source = self._sources.get(container_id)
        if source is not None:
            return source.io
        appender = logfile.Appender(path, max_size=self._max_size, max_files=self._max_files)
        pump = logpump.Pump(self._fifos.folder(container_id), appender, self._now)

        def prepare() -> stdio.Stdio:
            io = self._fifos.make(container_id, terminal=terminal, stdin=stdin)
            fds = {name: stdio.open_output(fifo) for name, fifo in io.outputs().items()}
            self._keeper.keep(container_id, fds)
            pump.open(fds)
            if link is not None:
                logfile.make_link(link, path)
            return io

        io = await asyncio.to_thread(prepare)
        source = _Source(self, container_id, pump, io, self._loop)
        self._sources[container_id] = source
        self._thread.add(pump)
        return io

    async def finish(self, container_id: str, *, grace: float = 2.0) -> None:
        """The container ended: write what it still had to say, and remove its FIFOs.

        A process that outlived the container may hold the pipe; after `grace` seconds nobody waits
        for it.
        """
        source = self._sources.get(container_id)
        if source is not None:
            self._thread.finish(source.pump)
            try:
                async with asyncio.timeout(grace):
                    await source.done.wait()
            except TimeoutError:
                self._thread.abandon(source.pump)
                await source.done.wait()
            self._sources.pop(container_id, None)
        if (tidying := self._tidying.get(container_id)) is not None:
            # Whoever removes the log now must not meet one who writes beside it.
            await asyncio.wait([asyncio.wrap_future(tidying)])
            self._tidying.pop(container_id, None)
        self._keeper.forget(container_id)
        await asyncio.to_thread(self._fifos.remove, container_id)

    async def close(self) -> None:
        """Stop reading. The FIFOs stay, with what comes meanwhile."""
        # It speaks to the thread, which must not have ended before.
        await asyncio.to_thread(self._housekeeper.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._thread.stop)
        for source in self._sources.values():
            source.finished()
        self._sources.clear()

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
        source = self._source_of(path)
        renamed = source.pump.appender.renamed if source else None
        cursor = await asyncio.to_thread(
            logfile.Cursor, path, tail_lines=tail_lines, renamed=renamed
        )
        try:
            while not renderer.full:
                # Taken before reading, so that what is written meanwhile is not missed.
                more = source.more() if follow and source else None
                block, shown = await asyncio.to_thread(_step, cursor, renderer)
                if shown:
                    yield shown
                if not block:
                    if more is None:
                        return
                    # Others wait for the same: the end of one must not cancel it.
                    await asyncio.wait([more])
        finally:
            cursor.close()

    @contextlib.contextmanager
    def listening(self, container_id: str, listener: Listener) -> Iterator[Tapped]:
        """From now on, until left. Raises KeyError when the container's output is not read."""
        source = self._sources[container_id]
        source.listeners.append(listener)
        if source.done.is_set():
            listener.end()
        try:
            yield source
        finally:
            source.listeners.remove(listener)
            source.adjust()

    def _source_of(self, path: Path) -> _Source | None:
        """What still writes that log."""
        for source in self._sources.values():
            if source.pump.appender.path == path and not source.done.is_set():
                return source
        return None

    # What follows is between this class and its sources.

    def go_on(self, pump: logpump.Pump) -> None:
        self._thread.go_on(pump)

    def tidy(self, container_id: str, pump: logpump.Pump) -> None:
        """A log was rotated, or grew: compress what is old, keep the whole below its limit.

        In the pump's thread.
        """
        before = self._tidying.get(container_id)
        if before is not None and not before.running() and not before.done():
            return  # it has not begun, so it will see this too
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._tidying[container_id] = self._housekeeper.submit(self._tidy, pump)

    def _tidy(self, pump: logpump.Pump) -> None:
        """In the housekeeper's thread."""
        before = time.thread_time()
        try:
            files = logfile.uncompressed(pump.appender.path, pump.settled) if self.pack else []
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # too old meanwhile
                    logfile.compress(file)
            if self._space is not None:
                for path in self._space.reclaim(self._living()):
                    self._cut_off(path)
        except OSError as error:
            log.warning("Cannot tidy up old logs: %s", error)
        self._thread.charge(pump, time.thread_time() - before)

    @property
    def written(self) -> int:
        """Bytes since the start."""
        return self._space.grown if self._space is not None else 0

    async def remove_old(self) -> None:
        """The device needs the room: all logs go that are written no more. Raises OSError."""
        if self._space is None:
            return
        work = self._loop.run_in_executor(self._housekeeper, self._space.remove_old)
        if freed := await work:
            log.warning("Removed %.1f MB of old container logs: the disk is full", freed / 1e6)

    def _living(self) -> Mapping[Path, logpump.Pump]:
        return {source.pump.appender.path: source.pump for source in list(self._sources.values())}

    def _cut_off(self, path: Path) -> None:
        pump = self._living().get(path)
        if pump is not None:
            self._thread.rotate(pump)

    def grew(self, container_id: str, pump: logpump.Pump, size: int) -> None:
        """In the pump's thread."""
        if self._space is not None and self._space.grew(size):
            self.tidy(container_id, pump)


class _Source:
    """The event loop's side of one container; `Side` of its pump."""

    def __init__(
        self,
        owner: Logs,
        container_id: str,
        pump: logpump.Pump,
        io: stdio.Stdio,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.pump = pump
        self.io = io
        self.done = asyncio.Event()
        self.listeners: list[Listener] = []
        self._owner = owner
        self._container_id = container_id
        self._loop = loop
        self._more: asyncio.Future[None] | None = None
        self._waiting: list[tuple[str, bytes]] = []
        self._held = False
        self._told = False
        pump.side = self

    def more(self) -> asyncio.Future[None] | None:
        """Done when there is something new in the log; None when there will be nothing."""
        if self.done.is_set():
            return None
        if self._more is None:
            self._more = self._loop.create_future()
        return self._more

    def adjust(self) -> None:
        if self._held and not any(listener.full for listener in self.listeners):
            self._held = False
            self._owner.go_on(self.pump)

    def finished(self) -> None:
        self.done.set()
        self._notify()
        for listener in self.listeners:
            listener.end()

    # --- called by the pump's thread ------------------------------------------------------------

    @property
    def wants_data(self) -> bool:
        return bool(self.listeners)

    def data(self, stream: str, data: bytes) -> None:
        self._later(self._pass_on, stream, data)

    def written(self, size: int) -> None:
        self._owner.grew(self._container_id, self.pump, size)
        if self._more is not None and not self._told:
            self._told = True
            self._later(self._notify)

    def rotated(self) -> None:
        self._owner.tidy(self._container_id, self.pump)

    def ended(self) -> None:
        self._later(self.finished)

    def _later(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to hear
            self._loop.call_soon_threadsafe(callback, *arguments)

    # --- in the loop ----------------------------------------------------------------------------

    def _pass_on(self, stream: str, data: bytes) -> None:
        for listener in self.listeners:
            listener.take(stream, data)
        self._held = True
        self.adjust()

    def _notify(self) -> None:
        self._told = False
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)


def _step(cursor: logfile.Cursor, renderer: cri_log.Renderer) -> tuple[bool, bytes]:
    """In a thread: (whether anything was read, what of it is shown)."""
    block = cursor.read()
    return bool(block), renderer.feed(block)
