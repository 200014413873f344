"""A status that counts something is on the medium when its writer goes on."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import kinds
from edgeorch.store import database, objects
from tests.component.store.conftest import Object, namespace, pod


def failed(obj: Object) -> Object:
    return {**obj, "status": {**obj["status"], "phase": "Failed"}}


async def test_a_durable_status_outlives_a_kill(tmp_path: pathlib.Path) -> None:
    """Nothing is closed or written down late, as when the process is killed."""
    db = database.Database(tmp_path / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
    await store.load()
    writer = asyncio.ensure_future(db.run())
    await store.create("namespaces", namespace("default"))
    for name in ("kept", "lost"):
        await store.create("pods", pod(name))
    await store.update("pods", "default", "kept", failed, subresource="status", durable=True)
    await store.update("pods", "default", "lost", failed, subresource="status")
    rows = {row.name: row.body for row in await db.rows()}
    await tasks.cancel_and_wait(writer)
    await db.close()
    assert b'"Failed"' in (rows["kept"] or b"")
    assert b'"Failed"' not in (rows["lost"] or b"")


async def test_a_fleeting_status_is_told_and_never_written(tmp_path: pathlib.Path) -> None:
    db = database.Database(tmp_path / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
    await store.load()
    writer = asyncio.ensure_future(db.run())
    await store.create("namespaces", namespace("default"))
    for name, fleeting in (("lost", True), ("kept", False)):
        await store.create("pods", pod(name))
        await store.update_status("pods", "default", name, failed, fleeting=fleeting)
        assert store.get("pods", "default", name).decode()["status"]["phase"] == "Failed"
    await store.write_dirty()
    rows = {row.name: row.body for row in await db.rows()}
    await tasks.cancel_and_wait(writer)
    await db.close()
    assert b'"Failed"' in (rows["kept"] or b"")
    assert b'"Failed"' not in (rows["lost"] or b"")


async def test_while_the_medium_is_spared_what_may_wait_waits_and_nothing_else(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rests are only noted: how long is for the clock, and its order for this test."""
    rests: list[float] = []
    rested = asyncio.Event()

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        rested.set()
        await asyncio.Event().wait()

    db = database.Database(tmp_path / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
    await store.load()
    store.flush_after = 10 * objects.FLUSH_AFTER
    writer = asyncio.ensure_future(db.run())
    await store.create("namespaces", namespace("default"))
    await store.create("pods", pod("spared"))
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", rest)
        flusher = asyncio.ensure_future(store.run())
        await store.update_status("pods", "default", "spared", failed)
        await rested.wait()
    rows = {row.name: row.body for row in await db.rows()}
    assert rests == [600.0]
    assert b"spared" in (rows["spared"] or b"")
    assert b'"Failed"' not in (rows["spared"] or b"")
    await tasks.cancel_and_wait(flusher)
    rows = {row.name: row.body for row in await db.rows()}
    await tasks.cancel_and_wait(writer)
    await db.close()
    assert b'"Failed"' in (rows["spared"] or b""), "a clean stop writes it down"
