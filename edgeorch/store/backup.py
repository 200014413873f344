"""Copies of the store for the day on which it is damaged: the latest and the one before it.

Made some time after a change and not more often than that: a device on which nothing changes
writes none. A copy is whole or absent, and none is removed before the next is on the medium.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from edgeorch.lib import files

log = logging.getLogger(__name__)

INTERVAL = 3600.0
"""Seconds between two copies, at least."""
FIRST = 10.0
"""Seconds after which there is one where there was none."""
_GENERATIONS = (".backup", ".backup.1")


def copies(path: Path) -> list[Path]:
    """Of the store at `path`, the latest first."""
    found = (path.with_name(path.name + suffix) for suffix in _GENERATIONS)
    return [each for each in found if each.exists()]


def newest(path: Path, good: Callable[[Path], bool] = lambda _: True) -> Path | None:
    return next((each for each in copies(path) if good(each)), None)


def make(path: Path) -> None:
    """A new generation of what the store is now; others read and write it meanwhile. Blocks.

    Raises OSError, sqlite3.Error.
    """
    latest, before = (path.with_name(path.name + suffix) for suffix in _GENERATIONS)

    def shift() -> None:
        if latest.exists():
            latest.replace(before)

    copy(path, latest, shift)


def copy(path: Path, target: Path, shift: Callable[[], None] = lambda: None) -> None:
    """To `target`, whole or not at all; `shift` makes room for it when it is on the medium. Blocks.

    Raises OSError, sqlite3.Error.
    """
    fresh = path.with_name(f"{path.name}.backup.new")
    fresh.unlink(missing_ok=True)
    try:
        # Without it SQLite makes the file as the process' umask has it; Secrets are in it.
        fresh.touch(mode=0o600)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(fresh),))
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        shift()
        fresh.replace(target)
        files.sync_directory(path.parent)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def former(path: Path, version: int) -> Path:
    """The copy that is kept when schema `version` is left for one that its edgeorch cannot use."""
    return path.with_name(f"{path.name}.schema-{version}")


def keep_former(path: Path, version: int) -> None:
    """Before anything is changed. Blocks. Raises OSError, sqlite3.Error."""
    copy(path, former(path, version))


class Backups:
    """`changed` is to be called with every commit."""

    def __init__(self, path: Path, interval: float = INTERVAL) -> None:
        self._path = path
        self._interval = interval
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        pause = self._interval if copies(self._path) else min(FIRST, self._interval)
        while True:
            await self._changed.wait()
            await asyncio.sleep(pause)
            self._changed.clear()
            try:
                await asyncio.to_thread(make, self._path)
            except (OSError, sqlite3.Error) as error:
                log.warning("Cannot copy %s: %s", self._path, error)
                self._changed.set()
            pause = self._interval
