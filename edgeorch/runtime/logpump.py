"""The thread that carries output from the FIFOs of all containers into their log files.

One thread, asleep in epoll_wait(2) while nothing is said. Each readable stream has one piece taken
in its turn, so that a chatty container cannot starve the others; a stream that said little rests a
moment, so that one that drips costs some wake-ups a second and not a hundred thousand; and a
container on which the thread has spent its share of the processor waits until it has earned more:
its pipe fills up, and it is held up by that, but loses nothing. Nothing is read before what was
read before it is in the log, so memory stays flat however slow the card is.
"""

from __future__ import annotations

import collections
import datetime
import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from edgeorch.runtime import logfile, spool, stdio
from edgeorch.wire import cri_log

log = logging.getLogger(__name__)

REST = 0.01
"""Seconds that a stream rests after it was read empty."""
SHARE = 0.5
"""Of one core that may be spent on one container in the long run..."""
CREDIT = 3.0
"""...after so many seconds of processor time at full speed."""


class Side(Protocol):
    """The event loop's side of a pump; called in the pump's thread."""

    @property
    def wants_data(self) -> bool:
        """Whether `data` is to be called; the stream then waits for `LogThread.go_on`."""

    def data(self, stream: str, data: bytes) -> None: ...

    def written(self, size: int) -> None:
        """There is so much more in the log, bytes."""

    def rotated(self) -> None: ...

    def ended(self) -> None:
        """All is in the log, and there will be no more."""


class _Stream(Struct, eq=False):
    name: str
    fd: int
    formatter: cri_log.Formatter
    spool: spool.Spool | None = None
    polled: bool = False
    waits: bool = False
    """For the event loop to have passed on what was read last."""


class Pump:
    """One container. Belongs to the thread once it has been given to `LogThread.add`."""

    def __init__(self, folder: Path, appender: logfile.Appender, now: Callable[[], int]) -> None:
        """`folder` holds the spools; `now` gives Unix nanoseconds, for stamps only."""
        self.appender = appender
        self.side: Side | None = None
        self.streams: dict[int, _Stream] = {}
        self.ending = False
        """The container has ended: read without rest."""
        self.left: int | None = None
        """Bytes to be read at most; None while there is no end in sight."""
        self._folder = folder
        self._now = now
        self._record: spool.Record | None = None
        self._recorded = (0, 0)
        self._failing = False
        self._credit = CREDIT
        self._credit_at = time.monotonic()

    def open(self, fds: dict[str, int]) -> None:
        """Take up what a former process has left."""
        for name, fd in fds.items():
            self.streams[fd] = _Stream(name, fd, cri_log.Formatter(name))
        try:
            self._take_up()
        except OSError as error:
            # A medium that is full or read-only must not hold up who writes: the next piece tries.
            self._fail(error)

    def _take_up(self) -> None:
        self.appender.open()
        if not (self._folder / "taken").exists():
            return
        self._begin_record()
        record = self._record
        if record is not None and record.log is not None:
            self.appender.cut(*record.log)
        for stream in self.streams.values():
            source = self._spool(stream)
            if source is not None and (left := source.left()):
                self._append(stream, stream.formatter.feed(left, self._stamp()))

    @property
    def settled(self) -> int:
        """Inode of the log's file up to which the next process will take nothing back."""
        return self._recorded[0]

    def turn(self, stream: _Stream) -> int:
        """One piece, from the pipe into the log; its size, 0 at the end of the stream.

        Raises BlockingIOError when there is none.
        """
        source = stream.spool or self._spool(stream)
        data = source.take(stream.fd) if source else os.read(stream.fd, spool.CHUNK)
        if not data:
            return 0
        self._append(stream, stream.formatter.feed(data, self._stamp()))
        side = self.side
        if side is not None and side.wants_data:
            stream.waits = True
            side.data(stream.name, data)
        return len(data)

    def end(self, stream: _Stream) -> None:
        """There is no more from this stream."""
        self._append(stream, stream.formatter.flush(self._stamp()))
        self._drop(stream)
        if not self.streams:
            self.close()
            if self.side is not None:
                self.side.ended()

    def close(self) -> None:
        """Let go. What is in the pipes and spools stays there for the next process."""
        for stream in list(self.streams.values()):
            self._drop(stream)
        self.appender.close()
        if self._record is not None:
            self._record.close()

    def rotate(self) -> None:
        """Now, whatever the size, so that what was written can be removed."""
        if self.streams and self.appender.size:
            self.appender.rotate(self._moment())
            self._rotated()

    def pay(self, seconds: float) -> float:
        """Charge processor time; seconds to wait until there is credit again."""
        now = time.monotonic()
        earned = (now - self._credit_at) * SHARE
        self._credit = min(CREDIT, self._credit + earned) - seconds
        self._credit_at = now
        return max(0.0, -self._credit / SHARE)

    def charge(self, seconds: float) -> None:
        self._credit -= seconds

    def _append(self, stream: _Stream, entries: bytes) -> None:
        if not entries:
            return
        rotations = self.appender.rotations
        try:
            self.appender.open()
            if (self.appender.inode, self.appender.size) != self._recorded:
                self._write_record(stream)
            self.appender.write(entries, self._moment())
        except OSError as error:
            self._fail(error)
        else:
            self._failing = False
        self._settle(stream)
        if self.side is not None:
            self.side.written(len(entries))
        if rotations != self.appender.rotations:
            self._rotated()

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            log.warning("Cannot write %s, output is lost: %s", self.appender.path, error)
        self._failing = True

    def _rotated(self) -> None:
        if self.side is not None:
            self.side.rotated()

    def _settle(self, stream: _Stream) -> None:
        """Put on record that what was taken stands in the log."""
        source = stream.spool
        if source is None or self._record is None:
            return
        rest = stream.formatter.rest
        source.wrote(len(rest))
        former = source.renew(rest) if source.is_big else None
        self._write_record(stream)
        if former is not None:
            source.forget(former)
        elif source.is_spent:
            source.empty()
            self._write_record(stream)

    def _write_record(self, stream: _Stream) -> None:
        if self._record is not None:
            if stream.spool is not None:
                self._record.places[stream.name] = stream.spool.place
            place = self.appender.inode, self.appender.size
            self._record.write(*place)
            self._recorded = place  # only now: others go by it

    def _begin_record(self) -> None:
        try:
            self._record = spool.Record(self._folder)
        except OSError as error:
            log.warning("Output is read without a spool in %s: %s", self._folder, error)

    def _spool(self, stream: _Stream) -> spool.Spool | None:
        if self._record is None:
            self._begin_record()
        if self._record is not None and stream.spool is None:
            number, done = self._record.places[stream.name]
            try:
                stream.spool = spool.Spool(self._folder, stream.name, number, done)
            except OSError as error:
                log.warning("Output is read without a spool in %s: %s", self._folder, error)
        return stream.spool

    def _drop(self, stream: _Stream) -> None:
        if self.streams.pop(stream.fd, None) is not None:
            os.close(stream.fd)
            if stream.spool is not None:
                stream.spool.close()

    def _stamp(self) -> bytes:
        return cri_log.stamp(self._now())

    def _moment(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now() // 1_000_000_000, datetime.UTC)


class LogThread:
    """Its methods are for the event loop; all but `stop` return at once."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._commands: collections.deque[Callable[[], None]] = collections.deque()
        self._streams: dict[int, tuple[Pump, _Stream]] = {}
        self._due: list[tuple[float, int, Pump, _Stream]] = []
        self._numbers = itertools.count()
        self._running = True
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def add(self, pump: Pump) -> None:
        self._call(lambda: self._add(pump))

    def finish(self, pump: Pump) -> None:
        """Its container has ended: read what it left without rest."""
        self._call(lambda: self._finish(pump, abandon=False))

    def abandon(self, pump: Pump) -> None:
        """Read what is in the pipes, and then no more."""
        self._call(lambda: self._finish(pump, abandon=True))

    def go_on(self, pump: Pump) -> None:
        """What was read last has been passed on."""
        self._call(lambda: self._go_on(pump))

    def rotate(self, pump: Pump) -> None:
        self._call(pump.rotate)

    def charge(self, pump: Pump, seconds: float) -> None:
        """Processor time that others have spent on the container's logs."""
        self._call(lambda: pump.charge(seconds))

    def stop(self) -> None:
        """Write what was read and end; the pipes stay as they are."""
        self._call(self._stop)
        self._stopped = True
        self._thread.join()

    # --- in the thread --------------------------------------------------------------------------

    def _call(self, command: Callable[[], None]) -> None:
        if self._stopped:
            return  # its number may be another file's by now
        self._commands.append(command)
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while self._running:
            for fd, _ in self._epoll.poll(self._patience()):
                if fd == self._wake:
                    self._obey()
                elif found := self._streams.get(fd):
                    self._serve(*found)
            self._rested()
        for pump in {id(pump): pump for pump, _ in self._streams.values()}.values():
            pump.close()
        self._epoll.close()
        os.close(self._wake)

    def _patience(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _obey(self) -> None:
        os.eventfd_read(self._wake)
        for _ in range(len(self._commands)):  # what they add waits for the next round
            try:
                self._commands.popleft()()
            except Exception:
                log.exception("The log thread goes on")

    def _rested(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, pump, stream = heapq.heappop(self._due)
            if stream.fd in pump.streams and not stream.waits:
                self._poll(stream, True)

    def _serve(self, pump: Pump, stream: _Stream) -> None:
        before = time.thread_time()
        try:
            count = pump.turn(stream)
        except BlockingIOError:
            if pump.left is not None:
                self._end(pump, stream)
            else:
                self._poll(stream, True)
            return
        except Exception:
            log.exception("Cannot read the output of %s", pump.appender.path)
            count = 0
        if pump.left is not None:
            pump.left -= count
        if not count or (pump.left is not None and pump.left <= 0):
            self._end(pump, stream)
            return
        delay = pump.pay(time.thread_time() - before)
        if stream.waits:
            self._poll(stream, False)
        elif pump.ending:
            self._serve_again(pump, stream)
        elif delay or count < spool.CHUNK // 2:
            self._rest(pump, stream, max(delay, REST))

    def _serve_again(self, pump: Pump, stream: _Stream) -> None:
        """In the next round: the writers may be gone, and epoll would not tell."""
        self._commands.append(lambda: self._again(pump, stream))
        os.eventfd_write(self._wake, 1)

    def _again(self, pump: Pump, stream: _Stream) -> None:
        if stream.fd in pump.streams and not stream.waits:
            self._serve(pump, stream)

    def _rest(self, pump: Pump, stream: _Stream, seconds: float) -> None:
        self._poll(stream, False)
        due = time.monotonic() + seconds
        heapq.heappush(self._due, (due, next(self._numbers), pump, stream))

    def _poll(self, stream: _Stream, wanted: bool) -> None:
        if wanted is not stream.polled:
            stream.polled = wanted
            if wanted:
                self._epoll.register(stream.fd, select.EPOLLIN)
            else:
                self._epoll.unregister(stream.fd)

    def _end(self, pump: Pump, stream: _Stream) -> None:
        self._poll(stream, False)
        self._streams.pop(stream.fd, None)
        pump.end(stream)

    def _add(self, pump: Pump) -> None:
        for stream in pump.streams.values():
            self._streams[stream.fd] = (pump, stream)
            self._poll(stream, True)

    def _finish(self, pump: Pump, *, abandon: bool) -> None:
        pump.ending = True
        if abandon:
            pump.left = len(pump.streams) * stdio.PIPE_SIZE
        for stream in list(pump.streams.values()):
            stream.waits = stream.waits and not abandon
            self._again(pump, stream)

    def _go_on(self, pump: Pump) -> None:
        for stream in list(pump.streams.values()):
            if stream.waits:
                stream.waits = False
                self._poll(stream, True)
                if pump.ending:
                    self._serve_again(pump, stream)

    def _stop(self) -> None:
        self._running = False
