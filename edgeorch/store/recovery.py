"""A store that is damaged: set aside, and what can be had of it and its backups put in its place.

Looked at before every start. The last good copy is better than nothing, and what the damaged file
still gives is newer than any copy: what is read of it goes before the backup's, and what only the
backup has comes back, also if it had been deleted since. Versions go on far above all that were
ever given. Everything here blocks.

Sources: https://www.sqlite.org/pragma.html#pragma_quick_check,
https://www.sqlite.org/howtocorrupt.html
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from pathlib import Path

from msgspec import Struct, field

from edgeorch.lib import files, json
from edgeorch.store import backup, database, schema

log = logging.getLogger(__name__)

KEPT = 2
"""Damaged stores that are kept for diagnosis."""
JUMP = 1 << 30
"""Between the versions that are known of and those that come: more than any device gives."""
_FORWARD = "SELECT resource, namespace, name, body FROM objects ORDER BY resource, namespace, name"
_BACKWARD = (
    "SELECT resource, namespace, name, body FROM objects "
    "ORDER BY resource DESC, namespace DESC, name DESC"
)
_MAGIC, _HEADER, _LONGEST = b"SQLite format 3\0", 100, 1 << 32
_COMPANIONS = ("", "-wal", "-shm")

Key = tuple[str, str, str]


class Contents(Struct):
    """What can be read of a store. `whole`: all of it."""

    rows: dict[Key, bytes] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    whole: bool = True


class Restored(Struct, frozen=True):
    """What was done. `backup`: the copy that was used, None for none."""

    why: str
    objects: int
    salvaged: int
    backup: Path | None
    aside: Path | None

    def __str__(self) -> str:
        source = f"{self.salvaged} of them read from the damaged file"
        if self.backup is not None:
            age = max(0.0, time.time() - self.backup.stat().st_mtime)
            source += f", the others from the backup of {age / 60:.0f} minutes before"
        kept = f"; the damaged file is kept as {self.aside}" if self.aside is not None else ""
        done = f"has been restored: {self.objects} objects, {source}{kept}"
        return f"the store was damaged ({self.why}) and {done}"


def mend(path: Path) -> Restored | None:
    """See that the store can be used; what had to be done for it. Raises StorageError."""
    try:
        why = problem(path)
        return restore(path, why) if why is not None else None
    except (OSError, sqlite3.Error) as error:
        raise database.StorageError(f"cannot restore {path}: {error}") from error


def problem(path: Path) -> str | None:
    """What is wrong with the store, None when it can be used. Raises OSError.

    A newer schema is not damage: whoever opens the store says so.
    """
    if not path.exists() or not path.stat().st_size:
        # Nothing at all is a first start, unless there has been something to copy.
        return "it is missing" if backup.newest(path) is not None else None
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                return "; ".join(map(str, found))
            if not _tables(connection):
                return "it is empty" if backup.newest(path) is not None else None
            return _unreadable(connection)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
            return None  # a full or failing medium is told by whoever opens the store
        return str(error)


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _tables(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'objects'")
    return bool(found.fetchone()[0])


def _unreadable(connection: sqlite3.Connection) -> str | None:
    for *key, body in connection.execute("SELECT resource, namespace, name, body FROM objects"):
        if not _is_object(body):
            return f"{key[0]} {key[1]}/{key[2]} cannot be read"
    return None


def _is_object(body: object) -> bool:
    try:
        return isinstance(body, bytes) and isinstance(json.decode(body), dict)
    except ValueError:
        return False


def restore(path: Path, why: str) -> Restored:
    """Put what can be had in the place of the store. Raises OSError, sqlite3.Error."""
    _lengthen(path)
    salvaged = _contents(path)
    copy = backup.newest(path, good=lambda candidate: _contents(candidate).whole)
    kept = _contents(copy) if copy is not None else Contents()
    rows = salvaged.rows if salvaged.whole and salvaged.rows else {**kept.rows, **salvaged.rows}
    reserved = (each.numbers.get(schema.RESERVED, 0) for each in (salvaged, kept))
    numbers = {schema.RESERVED: max(reserved) + JUMP, schema.NEEDED: schema.COMPATIBLE}
    fresh = path.with_name(f"{path.name}.new")
    _write(fresh, rows, numbers)
    aside = _set_aside(path)
    fresh.rename(path)
    files.sync_directory(path.parent)
    return Restored(why, len(rows), len(salvaged.rows), copy, aside)


def _lengthen(path: Path) -> None:
    """A file that is shorter than its header says is not read at all; with a hole at its end, what
    is there is (https://www.sqlite.org/fileformat.html, section 1.3)."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            return
        page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
        size = max(page_size, 512) * pages
        if path.stat().st_size < size <= _LONGEST:
            file.truncate(size)


def _contents(path: Path) -> Contents:
    """As much as can be read, from both ends."""
    found = Contents()
    if not path.exists():
        found.whole = False
        return found
    for query in (_FORWARD, _BACKWARD):
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                for name, value in connection.execute("SELECT name, value FROM meta"):
                    found.numbers[name] = max(found.numbers.get(name, 0), int(value))
                for resource, namespace, name, body in connection.execute(query):
                    if _is_object(body):
                        found.rows[resource, namespace, name] = body
                    else:
                        found.whole = False
                return found
        except (sqlite3.Error, ValueError, TypeError) as error:
            log.debug("Reading %s: %s", path, error)
            found.whole = False
    return found


def _write(path: Path, rows: dict[Key, bytes], numbers: dict[str, int]) -> None:
    for suffix in _COMPANIONS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(schema.TABLES)
        connection.execute(f"PRAGMA user_version={schema.VERSION}")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO objects (resource, namespace, name, body) VALUES (?, ?, ?, ?)",
            ((*key, body) for key, body in rows.items()),
        )
        connection.executemany("INSERT INTO meta VALUES (?, ?)", numbers.items())
        connection.execute("COMMIT")


def _set_aside(path: Path) -> Path | None:
    """Keep the damaged file, and not more of them than a few."""
    if not path.exists():
        return None
    damaged = _damaged(path)
    for number in sorted(damaged)[: len(damaged) + 1 - KEPT]:
        damaged[number].unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.damaged-{max(damaged, default=0) + 1}")
    path.rename(aside)
    # They belong to the damaged file, and would be taken for the new one's.
    for suffix in _COMPANIONS[1:]:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _damaged(path: Path) -> dict[int, Path]:
    """By number, the latest the highest."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    numbered = {each.name.rpartition("-")[2]: each for each in found}
    return {int(number): each for number, each in numbered.items() if number.isdigit()}
