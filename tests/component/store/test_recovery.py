"""A store that is damaged: the last good copy and what can still be read, rather than nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
from collections.abc import Callable

import pytest

from edgeorch.store import backup, database, recovery, schema

from .conftest import config_map, namespace, opened

OBJECTS = 300


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A store with a backup; ten objects are newer than that, one has gone since."""
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(_fill(folder))
    return folder


async def _fill(folder: pathlib.Path) -> None:
    async with opened(folder / "state.db") as store:
        await store.create("namespaces", namespace("default"))
        for number in range(OBJECTS):
            await store.create("configmaps", config_map(f"old-{number}", text="x" * 300))
        backup.make(folder / "state.db")
        for number in range(10):
            await store.create("configmaps", config_map(f"new-{number}"))
        await store.delete("configmaps", "default", "old-7")


@pytest.fixture
def path(filled: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    shutil.copytree(filled, tmp_path / "data")
    return tmp_path / "data" / "state.db"


async def names(path: pathlib.Path) -> set[str]:
    async with opened(path) as store:
        return {stored.name for stored in store.list("configmaps").items}


async def version(path: pathlib.Path) -> int:
    async with opened(path) as store:
        return store.version


async def test_a_sound_store_is_left_alone(path: pathlib.Path) -> None:
    assert recovery.mend(path) is None
    found = await names(path)
    assert len(found) == OBJECTS + 9
    assert "old-7" not in found


def garbage(path: pathlib.Path) -> None:
    path.write_bytes(os.urandom(20_000))


def zeroed(path: pathlib.Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def header(path: pathlib.Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


@pytest.mark.ask(13)
@pytest.mark.parametrize("damage", [garbage, zeroed, emptied, header, os.unlink])
async def test_the_backup_takes_its_place(
    path: pathlib.Path, damage: Callable[[pathlib.Path], None]
) -> None:
    before = await version(path)
    damage(path)
    restored = recovery.mend(path)
    assert restored is not None
    assert restored.backup is not None
    assert "restored" in str(restored)
    assert await names(path) == {f"old-{number}" for number in range(OBJECTS)}
    assert await version(path) > before
    assert recovery.mend(path) is None


@pytest.mark.parametrize("seed", range(12))
async def test_a_damaged_page_costs_nothing_that_a_copy_or_the_rest_has(
    path: pathlib.Path, seed: int
) -> None:
    dice = random.Random(seed)
    before = await version(path)
    with path.open("r+b") as file:
        for _ in range(dice.choice((1, 3))):
            file.seek(dice.randrange(1, path.stat().st_size // 4096) * 4096)
            file.write(dice.randbytes(4096))
    if recovery.mend(path) is None:
        return  # an unused page
    found = await names(path)
    assert {f"old-{number}" for number in range(OBJECTS)} - {"old-7"} <= found
    assert await version(path) > before


async def test_one_object_that_cannot_be_read_comes_from_the_copy(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE objects SET body = ? WHERE name = 'old-3'", (b'{"torn',))
        connection.commit()
    restored = recovery.mend(path)
    assert restored is not None
    assert "old-3 cannot be read" in restored.why
    found = await names(path)
    assert {"old-3", "new-9"} <= found


async def test_what_is_left_is_used_when_the_copies_are_damaged_too(path: pathlib.Path) -> None:
    garbage(path.with_name("state.db.backup"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert recovery.mend(path) is not None
    assert await names(path)


async def test_damaged_files_are_kept_but_not_for_ever(path: pathlib.Path) -> None:
    asides = []
    for _ in range(5):
        garbage(path)
        restored = recovery.mend(path)
        assert restored is not None
        asides.append(restored.aside)
    kept = {each.name for each in path.parent.glob("state.db.damaged-*")}
    assert kept == {each.name for each in asides[-recovery.KEPT :] if each is not None}


def test_a_first_start_is_no_damage(tmp_path: pathlib.Path) -> None:
    assert recovery.mend(tmp_path / "state.db") is None


async def test_what_a_newer_edgeorch_has_written_is_not_touched(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.execute("UPDATE meta SET value = 99 WHERE name = ?", (schema.NEEDED,))
        connection.commit()
    assert recovery.mend(path) is None
    with pytest.raises(database.StorageError, match="newer edgeorch"):
        await names(path)


async def test_copies_are_two_and_readable_by_root_only(path: pathlib.Path) -> None:
    backup.make(path)
    backup.make(path)
    assert [copy.name for copy in backup.copies(path)] == ["state.db.backup", "state.db.backup.1"]
    assert {copy.stat().st_mode & 0o777 for copy in backup.copies(path)} == {0o600}
    assert not list(path.parent.glob("*.new*"))
