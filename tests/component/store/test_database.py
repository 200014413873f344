"""The file: transactions that do not get in each other's way, files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable

import pytest

from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import kinds
from edgeorch.store import database, objects

LATER = {"type": "Later", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@contextlib.asynccontextmanager
async def opened(path: pathlib.Path) -> AsyncIterator[database.Database]:
    db = database.Database(path)
    await db.open()
    writer = asyncio.ensure_future(db.run())
    try:
        yield db
    finally:
        await tasks.cancel_and_wait(writer)
        await db.close()


def row(name: str, body: bytes | None = b"{}") -> database.Row:
    return database.Row("configmaps", "default", name, body)


async def test_whoever_flushes_waits_for_the_transaction_under_way(tmp_path: pathlib.Path) -> None:
    async with opened(tmp_path / "state.db") as db:
        waiting = []
        for number in range(100):
            waiting.append(db.submit([row(f"writer-{number}")], lambda: None))
            await asyncio.sleep(0)  # The writer begins; the next change is flushed beside it.
            waiting.append(db.submit([row(f"flusher-{number}")], lambda: None))
            await asyncio.gather(db.flush(), db.set_number("reserved_version", number))
        await asyncio.gather(*waiting)
        assert len(await db.rows()) == 200
        assert await db.number("reserved_version") == 99


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"not a database at all, but long enough" * 200, id="other file"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: data[:4096] + b"\xff" * (len(data) - 4096), id="overwritten"),
    ],
)
async def test_a_damaged_file_is_a_storage_error(
    tmp_path: pathlib.Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "state.db"
    async with opened(path) as db:
        await asyncio.gather(
            *(db.submit([row(str(number), b"x" * 2000)], lambda: None) for number in range(50))
        )
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(database.StorageError, match=r"state\.db"):
        await read_all(path)


async def read_all(path: pathlib.Path) -> None:
    async with opened(path) as db:
        await db.number("reserved_version")
        await db.rows()


async def test_a_damaged_object_is_a_storage_error(tmp_path: pathlib.Path) -> None:
    async with opened(tmp_path / "state.db") as db:
        await db.submit([row("broken", b'{"metadata"')], lambda: None)
        store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
        with pytest.raises(database.StorageError, match="configmaps default/broken"):
            await store.load()


async def test_only_the_owner_reads_the_file(tmp_path: pathlib.Path) -> None:
    async with opened(tmp_path / "state.db") as db:
        await db.submit([row("secret")], lambda: None)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes
    assert set(modes.values()) == {0o600}, modes


async def test_a_status_that_the_medium_refused_is_written_once_it_can(
    tmp_path: pathlib.Path,
) -> None:
    def named(obj: kinds.Object) -> kinds.Object:
        return {**obj, "status": {"phase": "Active", "conditions": [LATER]}}

    async with opened(tmp_path / "state.db") as db:
        store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
        await store.load()
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await store.create("namespaces", meta)
        await store.update_status("namespaces", "", "default", named)
        await db._db.execute("PRAGMA query_only=ON")
        await store.write_dirty()
        refused = db.failure
        assert refused
        await db._db.execute("PRAGMA query_only=OFF")
        await store.write_dirty()
        assert db.failure is None
        assert b"Later" in next(row.body for row in await db.rows() if row.body)


async def test_a_medium_that_works_again_is_noticed_without_a_write(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TRY_AGAIN", 0.02)
    async with opened(tmp_path / "state.db") as db:
        await db._db.execute("PRAGMA query_only=ON")
        with pytest.raises(database.StorageError, match="cannot write"):
            await db.submit([row("refused")], lambda: None)
        assert db.failure
        await db._db.execute("PRAGMA query_only=OFF")
        async with asyncio.timeout(5):
            while db.failure:
                await asyncio.sleep(0.005)
