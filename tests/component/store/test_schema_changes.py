"""An upgrade that changes the store, and the way back: nothing is lost, or it is said what."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator

import pytest

from edgeorch.store import backup, database, former, recovery, schema

from .conftest import config_map, namespace, opened

ADDED = f"{schema.TABLES} CREATE TABLE IF NOT EXISTS labels (name TEXT PRIMARY KEY) WITHOUT ROWID;"


@contextlib.contextmanager
def newer(compatible: int, tables: str = ADDED) -> Iterator[None]:
    """edgeorch as it may be one day, with another schema."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        patch.setattr(schema, "COMPATIBLE", compatible)
        patch.setattr(schema, "TABLES", tables)
        yield


@pytest.fixture
async def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A store of this version, with one object."""
    path = tmp_path / "state.db"
    async with opened(path) as store:
        await store.create("namespaces", namespace("default"))
        await store.create("configmaps", config_map("before"))
    return path


async def add(path: pathlib.Path, name: str) -> int:
    """One object more; the version it was given."""
    async with opened(path) as store:
        await store.create("configmaps", config_map(name))
        return store.version


async def names(path: pathlib.Path) -> set[str]:
    async with opened(path) as store:
        return {each.name for each in store.list("configmaps").items}


async def test_what_a_new_version_only_adds_loses_nothing_on_the_way_back(
    path: pathlib.Path,
) -> None:
    with newer(compatible=schema.VERSION):
        given = await add(path, "meanwhile")
    assert list(path.parent.glob("*.schema-*")) == []
    assert former.go_back(path) is None
    assert recovery.mend(path) is None
    assert await add(path, "after") > given
    assert await names(path) == {"before", "meanwhile", "after"}
    with newer(compatible=schema.VERSION):  # and once more
        assert await names(path) == {"before", "meanwhile", "after"}


async def test_what_the_old_version_does_not_serve_is_kept_for_the_new_one(
    path: pathlib.Path,
) -> None:
    row = ("widgets.example.com", "default", "one", b"{}")
    with newer(compatible=schema.VERSION):
        await add(path, "meanwhile")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", row)
    await add(path, "after")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT * FROM objects WHERE resource = ?", row[:1])
        assert found.fetchall() == [row]


async def test_where_it_changes_more_the_copy_from_before_is_used_and_it_is_said_what_is_lost(
    path: pathlib.Path,
) -> None:
    with newer(compatible=schema.VERSION + 1):
        given = await add(path, "meanwhile")
        assert await names(path) == {"before", "meanwhile"}
    assert backup.former(path, schema.VERSION).stat().st_mode & 0o777 == 0o600
    undone = former.go_back(path)
    assert undone is not None
    assert f"schema {schema.VERSION + 1}" in str(undone)
    assert "is lost" in str(undone)
    assert recovery.mend(path) is None
    assert await add(path, "after") > given  # versions never go back
    assert await names(path) == {"before", "after"}
    assert former.go_back(path) is None
    with newer(compatible=schema.VERSION + 1):  # the former file is there for who wants it
        assert await names(undone.aside) == {"before", "meanwhile"}
        assert await names(path) == {"before", "after"}


async def test_a_way_back_that_was_cut_off_is_gone_to_its_end(path: pathlib.Path) -> None:
    with newer(compatible=schema.VERSION + 1):
        await add(path, "meanwhile")
    path.replace(path.with_name(f"{path.name}.newer"))
    undone = former.go_back(path)
    assert undone is not None
    assert undone.version == schema.VERSION + 1
    assert await names(path) == {"before"}


async def test_a_version_that_has_proven_itself_forgets_the_copy(path: pathlib.Path) -> None:
    with newer(compatible=schema.VERSION + 1):
        await add(path, "meanwhile")
        former.forget(path)
    assert former.go_back(path) is None
    with pytest.raises(database.StorageError, match="newer edgeorch"):
        await database.Database(path).open()


async def test_a_migration_that_was_cut_off_is_done_again_with_a_fresh_copy(
    path: pathlib.Path,
) -> None:
    cut_off = newer(compatible=schema.VERSION + 1, tables="nonsense;")
    with cut_off, pytest.raises(database.StorageError):
        await database.Database(path).open()
    assert former.go_back(path) is None
    await add(path, "between")
    with newer(compatible=schema.VERSION + 1):
        await add(path, "meanwhile")
    assert former.go_back(path) is not None
    assert await names(path) == {"before", "between"}
