"""The disk: one SQLite file, one connection, group commit.

Owns the file and nothing else knows SQLite. WAL with synchronous=FULL: a committed change is on the
medium before anybody is told. Changes that wait while the medium is busy share the next
transaction, so a burst of a hundred writes costs a few fsyncs, not a hundred. A failed transaction
leaves the file and every reader as they were. On a full disk it lives on room of its own
(`reserve`).

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

import aiosqlite
from msgspec import Struct

from edgeorch.lib import metrics
from edgeorch.store import backup, medium, reserve, schema, spare

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable, Iterable, Iterator

log = logging.getLogger(__name__)

TRY_AGAIN = 5.0
"""Seconds between looks at a medium that has refused."""
MAKE_ROOM = 30.0
"""Seconds between looks whether there is room again for the reserve that was given up."""
SLOW = 10.0
"""Seconds after which a medium that has neither taken nor refused a transaction is in trouble."""
WORTHWHILE = 1 << 20
"""Bytes of the file that nothing uses any more, from which on it is written anew at a start."""
_UPSERT = """
INSERT INTO objects (resource, namespace, name, body) VALUES (?, ?, ?, ?)
ON CONFLICT (resource, namespace, name) DO UPDATE SET body = excluded.body
"""
_TOUCH = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_DELETE = "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?"


class StorageError(Exception):
    """The medium refused: full, read-only, broken."""

    def __init__(self, told: str, *, full: bool = False, medium: bool = False) -> None:
        super().__init__(told)
        self.medium = medium
        """Whether nothing can be written there at all, whatever the file is like."""
        self.full = full
        """Whether it would work again if there was less on it."""


class Row(Struct, frozen=True):
    """One object as it rests. `body` None removes it."""

    resource: str
    namespace: str
    name: str
    body: bytes | None


class _Change(Struct, eq=False):
    rows: list[Row]
    committed: Callable[[], None]
    done: asyncio.Future[None]


class Database:
    def __init__(
        self, path: pathlib.Path, *, reserved: int = 0, spare: pathlib.Path | None = None
    ) -> None:
        """`reserved`: bytes on the disk that are kept for when it is full. `spare`: a folder in
        memory, for a copy to read from where the medium can only be read."""
        self._path = path
        self._spare = spare
        self._on_spare = False
        self._wanted = False
        """Others need the reserve."""
        self._doubted = False
        """The medium may have changed."""
        self._owed: dict[str, int] = {}
        """Numbers that were set meanwhile."""
        self._reserve = reserve.Reserve(path.parent / "reserve", reserved)
        self._ahead: list[reserve.Ahead] = []
        self._connection: aiosqlite.Connection | None = None
        self._waiting: list[_Change] = []
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        """One transaction at a time: there is one connection, and each statement is awaited."""
        self.on_commit: Callable[[], None] = lambda: None
        self.failure: str | None = None
        """Why the last transaction failed, None while the medium takes writes."""
        self._began: float | None = None
        """Since when a transaction is under way."""
        self._took = metrics.Histogram(
            "edgeorch_store_commit_duration_seconds",
            "Seconds that transactions of the store took until they were on the medium.",
        )
        self._bytes = metrics.Counter(
            "edgeorch_store_committed_bytes_total", "Bytes of objects that were written down."
        )
        self._failed = metrics.Counter(
            "edgeorch_store_commits_failed_total", "Transactions that the medium refused."
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._took, self._bytes, self._failed)
        registry.collected(
            "apiserver_storage_size_bytes",
            "Bytes of the medium that the store's database takes.",
            self._size,
        )

    def _size(self) -> dict[tuple[str, ...], float]:
        try:
            return {(): self._path.stat().st_blocks * 512}
        except OSError:  # nobody can tell
            return {}

    async def open(self) -> None:
        """Raises StorageError when the file cannot be used."""
        try:
            await self._with_reserve("open", self._open)
        except StorageError as error:
            if not error.medium or self._spare is None:
                raise
            await self._open_spare(self._spare, error)
        else:
            await asyncio.to_thread(self._reserve.make)

    async def _open_spare(self, folder: pathlib.Path, refused: StorageError) -> None:
        """Raises what the file itself was refused with when it cannot be read either."""
        try:
            copied = await asyncio.to_thread(spare.take, self._path, folder)
            self._connection = await aiosqlite.connect(copied, isolation_level=None)
            await self._one("PRAGMA user_version")
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise refused from error
        log.error("%s; serving what is there, from a copy", refused)
        self._on_spare = True
        self.failure = str(refused)

    async def _leave_spare(self) -> None:
        """For the file itself, now that it can be written. Raises StorageError."""
        copied, self._connection = self._connection, None

        async def reopen() -> None:
            await self._open()
            for name, value in self._owed.items():
                await self._db.execute(_TOUCH, (name, value))

        try:
            await self._with_reserve("open", reopen)
        except StorageError:
            await self.close()
            self._connection = copied
            raise
        self._on_spare = False
        if copied is not None:
            await copied.close()
        if self._spare is not None:
            await asyncio.to_thread(spare.drop, self._spare)

    async def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Secrets are in it. The files beside it (-wal, -shm) take over its mode.
            self._path.touch(mode=0o600)
            self._connection = await aiosqlite.connect(self._path, isolation_level=None)
            await self._connection.execute("PRAGMA journal_mode=WAL")
            await self._connection.execute("PRAGMA synchronous=FULL")
            await self._connection.execute("PRAGMA cache_size=-512")
            # One big transaction makes a big log, which goes again with the next ones.
            await self._connection.execute(f"PRAGMA journal_size_limit={2 * max(reserve.AHEAD)}")
            await self._migrate()
            await self._compact()
            await self._db.execute(_TOUCH, ("tried", 0))  # makes the log
            log_file = self._path.with_name(f"{self._path.name}-wal")
            self._ahead = [reserve.Ahead(log_file, reused=True), reserve.Ahead(self._path)]
            self._keep_ahead()
        except BaseException:
            await self.close()
            raise

    def _keep_ahead(self) -> None:
        for size in reserve.AHEAD:
            for each in self._ahead:
                each.keep(size)

    async def _with_reserve(self, verb: str, work: Callable[[], Awaitable[None]]) -> None:
        """Once more with what is kept for a full disk. Raises StorageError, which says why."""
        if self._on_spare and verb == "write":
            raise StorageError(self.failure or "", medium=True)
        try:
            try:
                await work()
            except (sqlite3.Error, OSError) as error:
                trouble = await self._trouble(error)
                given = trouble.full and await asyncio.to_thread(self._reserve.give_up)
                if not given:
                    raise
                await work()
        except (sqlite3.Error, OSError) as error:
            trouble = await self._trouble(error)
            told = f"cannot {verb} {self._path}: {trouble.told}"
            raise StorageError(told, full=trouble.full, medium=trouble.known) from error

    def give_way(self) -> None:
        """Somebody else needs a little room, lest what ran before ends."""
        self._wanted = True
        self._wake.set()

    def look(self) -> None:
        """The medium is said to have changed: know what it takes before somebody writes."""
        self._doubted = True
        self._wake.set()

    def no_room(self) -> str | None:
        """Why nothing new is taken in: what little room there is is for making more."""
        if not self._reserve.is_short():
            return None
        return f"cannot write {self._path}: {medium.full(self._path.parent).told}"

    async def _trouble(self, error: Exception) -> medium.Trouble:
        found = await asyncio.to_thread(medium.diagnose, self._path.parent)
        if found is None and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            found = medium.full(self._path.parent)
        return found or medium.Trouble(full=False, told=str(error), known=False)

    async def _migrate(self) -> None:
        (version,) = (await self._one("PRAGMA user_version")) or (0,)
        if version > schema.VERSION:
            if await self._needed() > schema.VERSION:
                raise StorageError(
                    f"cannot open {self._path}: written by a newer edgeorch (schema {version}, "
                    f"this one knows {schema.VERSION}); install that version again"
                )
            log.info("%s is of the newer schema %d, which only adds", self._path, version)
        elif version < schema.VERSION:
            if 0 < version < schema.COMPATIBLE:
                await asyncio.to_thread(backup.keep_former, self._path, version)
            await self._db.executescript(schema.TABLES)
            await self._db.execute(_TOUCH, (schema.NEEDED, schema.COMPATIBLE))
            await self._db.execute(f"PRAGMA user_version={schema.VERSION}")

    async def _compact(self) -> None:
        """Give room back that was only needed once: where more of the file is free than used.

        A cut in the middle leaves the file as it was; so does a medium that refuses.
        """
        (size,) = (await self._one("PRAGMA page_size")) or (0,)
        (pages,) = (await self._one("PRAGMA page_count")) or (0,)
        (free,) = (await self._one("PRAGMA freelist_count")) or (0,)
        if free * size < WORTHWHILE or 2 * free < pages:
            return
        try:
            await self._db.execute("VACUUM")
            await self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.info("The store stays as large as it is: %s", error)
        else:
            log.info("The store gave %d KiB back", free * size // 1024)

    async def _needed(self) -> int:
        """The oldest schema whose edgeorch may use the file, by its own account."""
        found = await self._one("SELECT value FROM meta WHERE name = ?", schema.NEEDED)
        return found[0] if found else sys.maxsize

    @property
    def _db(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise StorageError(f"cannot use {self._path}: it is closed")
        return self._connection

    async def _one(self, query: str, *values: object) -> tuple[int] | None:
        async with self._db.execute(query, values) as cursor:
            row = await cursor.fetchone()
        return (int(row[0]),) if row else None

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        for each in self._ahead:
            each.close()
        self._ahead = []

    async def rows(self) -> list[Row]:
        """Raises StorageError when the file is damaged."""
        query = "SELECT resource, namespace, name, body FROM objects"
        try:
            async with self._db.execute(query) as found:
                return [Row(*row) async for row in found]
        except sqlite3.Error as error:
            raise StorageError(f"cannot read {self._path}: {error}") from error

    async def number(self, name: str) -> int:
        """Raises StorageError when the file is damaged."""
        try:
            found = await self._one("SELECT value FROM meta WHERE name = ?", name)
        except sqlite3.Error as error:
            raise StorageError(f"cannot read {self._path}: {error}") from error
        return found[0] if found else 0

    async def set_number(self, name: str, value: int) -> None:
        """Raises StorageError."""

        async def write() -> None:
            await self._db.execute(_TOUCH, (name, value))

        async with self._turn:
            if self._on_spare:
                self._owed[name] = value
            else:
                await self._with_reserve("write", write)

    def submit(self, rows: list[Row], committed: Callable[[], None]) -> asyncio.Future[None]:
        """Queue a change. `committed` runs once it is on the medium, also if nobody waits any more.

        The future fails with StorageError when the medium refuses.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever waits may be gone by then; the failure has been logged and is in `failure`.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._waiting.append(_Change(rows, committed, done))
        self._wake.set()
        return done

    async def run(self) -> None:
        """Write what is submitted, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._patience()):
                    await self._wake.wait()
            except TimeoutError:
                await self._try_again()
            else:
                if self._wanted:
                    self._wanted = False
                    await asyncio.to_thread(self._reserve.give_up)
                if self._doubted:
                    self._doubted = False
                    await self._try()
                await self.flush()

    def _patience(self) -> float | None:
        if self.failure:
            return TRY_AGAIN
        return None if self._reserve.held else MAKE_ROOM

    async def _try_again(self) -> None:
        """Nobody may write for long, and a medium that works again is to be known of."""
        if not self.failure:
            if await asyncio.to_thread(self._reserve.make):
                log.info("The store has its reserve again")
            return
        await self._try()

    async def _try(self) -> None:
        """Find out by writing whether the medium takes writes."""
        try:
            if self._on_spare:
                async with self._turn:
                    await self._leave_spare()
            await self.set_number("tried", 0)
        except StorageError as error:
            if self.failure is None:
                log.error("%s", error)
            self.failure = str(error)
        else:
            self._works()

    def _works(self) -> None:
        if self.failure is not None:
            log.info("%s can be written again", self._path)
        self.failure = None

    async def flush(self) -> None:
        """Commit everything that waits now, in one transaction."""
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        self._wake.clear()
        changes, self._waiting = self._waiting, []
        if not changes:
            return
        rows = [row for change in changes for row in change.rows]
        try:
            with self._took.timed(), self._under_way():
                await self._with_reserve("write", lambda: self._transaction(rows))
        except StorageError as error:
            self._fail(changes, error)
            return
        except asyncio.CancelledError:
            told = f"cannot write {self._path}: the store is closing"
            self._fail(changes, StorageError(told))
            raise
        self._works()
        self._bytes.add(by=sum(len(row.body) for row in rows if row.body is not None))
        self.on_commit()
        for change in changes:
            change.committed()
            if not change.done.done():
                change.done.set_result(None)
        if any(each.lacks(size) for each in self._ahead for size in reserve.AHEAD):
            await asyncio.to_thread(self._keep_ahead)

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    @property
    def trouble(self) -> str | None:
        """Why writes fail, or are not answered; None while all is well."""
        if self.failure is None and self._began is not None:
            waited = time.monotonic() - self._began
            if waited >= SLOW:
                where = self._path.parent
                return f"cannot write {self._path}: {where} has not answered for {waited:.0f} s"
        return self.failure

    async def _transaction(self, rows: Iterable[Row]) -> None:
        puts, deletes = [], []
        # Within one batch the last word on a key counts.
        latest = {(row.resource, row.namespace, row.name): row for row in rows}
        for key, row in latest.items():
            if row.body is None:
                deletes.append(key)
            else:
                puts.append((*key, row.body))
        await self._db.execute("BEGIN IMMEDIATE")
        try:
            if puts:
                await self._db.executemany(_UPSERT, puts)
            if deletes:
                await self._db.executemany(_DELETE, deletes)
            await self._db.execute("COMMIT")
        except BaseException:
            await self._db.rollback()
            raise

    def _fail(self, changes: list[_Change], error: StorageError) -> None:
        self._failed.add()
        if self.failure is None:
            log.error("%s", error)
        self.failure = str(error)
        for change in changes:
            if not change.done.done():
                change.done.set_exception(error)
