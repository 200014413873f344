"""The way back for the store: a copy in the former schema, while a new version is on trial.

Needed only where the schema changes so that the version before cannot use the file (schema.py).
The copy is made before anything is changed, forgotten when the new version has proven itself, and
used by the version before when it finds itself with a file that it cannot use. Everything here
blocks.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import time
from pathlib import Path

from msgspec import Struct

from edgeorch.lib import files
from edgeorch.store import backup, database, recovery, schema

log = logging.getLogger(__name__)


class WentBack(Struct, frozen=True):
    """What was done. `version`: the schema that was left."""

    version: int
    aside: Path
    age: float
    """Seconds since the copy was made."""

    def __str__(self) -> str:
        return (
            f"the store was changed to schema {self.version} by an upgrade that was given up; the "
            f"copy from before it is used, and what was changed in the {self.age / 60:.0f} minutes "
            f"since then is lost, but for {self.aside}"
        )


def forget(path: Path) -> None:
    """There is no way back any more."""
    for each in path.parent.glob(f"{path.name}.schema-*"):
        with contextlib.suppress(OSError):
            each.unlink()


def go_back(path: Path) -> WentBack | None:
    """Put the copy in the place of a file that this version cannot use. Raises StorageError."""
    try:
        return _go_back(path) if backup.former(path, schema.VERSION).exists() else None
    except (OSError, sqlite3.Error) as error:
        raise database.StorageError(f"cannot restore {path}: {error}") from error


def _go_back(path: Path) -> WentBack | None:
    copy, aside = backup.former(path, schema.VERSION), path.with_name(f"{path.name}.newer")
    # Where the file is not there, this was cut off before its last step.
    left = path if path.exists() else aside
    version, needed, given = _account(left)
    if needed <= schema.VERSION or version <= schema.VERSION:
        return None
    age = max(0.0, time.time() - copy.stat().st_mtime)
    with _connected(copy) as connection:
        (own,) = connection.execute(
            "SELECT max(value) FROM meta WHERE name = ?", (schema.RESERVED,)
        ).fetchone()
        # Versions go on above all that were ever given.
        number = max(given, own or 0) + recovery.JUMP
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (schema.RESERVED, number))
    if left is path:
        with _connected(path) as connection:  # what is in its log comes along
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.replace(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    files.sync_directory(path.parent)
    return WentBack(version, aside, age)


def _account(path: Path) -> tuple[int, int, int]:
    """Of a file: its schema, the oldest that may use it, the versions given. Damage: all 0."""
    if not path.exists():
        return 0, 0, 0
    try:
        with _connected(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            numbers = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    except sqlite3.DatabaseError as error:
        log.debug("Reading %s: %s", path, error)
        return 0, 0, 0
    return version, numbers.get(schema.NEEDED, sys.maxsize), numbers.get(schema.RESERVED, 0)


def _connected(path: Path) -> contextlib.closing[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    return contextlib.closing(connection)
