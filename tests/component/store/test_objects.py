"""The one door to the objects: durability, versions, preconditions, deletion, watching."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
from typing import Any

import pytest

from edgeorch.model import errors
from edgeorch.store import objects, watch
from tests.component.store.conftest import config_map, namespace, opened, pod

Object = dict[str, Any]


def _set(**data: str) -> objects.Change:
    def change(obj: Object) -> Object:
        return {**obj, "data": data}

    return change


def _on_disk(path: pathlib.Path, name: str) -> bytes | None:
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT body FROM objects WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


async def test_a_created_object_is_complete_and_on_the_medium_at_once(
    store: objects.Objects, tmp_path: pathlib.Path
) -> None:
    stored = await store.create("configmaps", config_map("a", x="1"))
    meta = stored.decode()["metadata"]
    assert meta["resourceVersion"] == str(stored.version)
    assert len(meta["uid"]) == 36
    assert b'"x":"1"' in (_on_disk(tmp_path / "state.db", "a") or b"")


async def test_creating_twice_is_refused_also_at_the_same_moment(store: objects.Objects) -> None:
    results = await asyncio.gather(
        *(store.create("configmaps", config_map("a", by=str(n))) for n in range(5)),
        return_exceptions=True,
    )
    refused = [r for r in results if isinstance(r, errors.StatusError)]
    assert len(refused) == 4
    assert {(r.code, r.message) for r in refused} == {(409, 'configmaps "a" already exists')}


async def test_a_namespace_must_exist_and_not_be_ending(store: objects.Objects) -> None:
    lost = config_map("a")
    lost["metadata"]["namespace"] = "nowhere"
    with pytest.raises(errors.StatusError, match='namespaces "nowhere" not found'):
        await store.create("configmaps", lost)
    await store.create("namespaces", namespace("ending"))
    assert not (await store.delete("namespaces", "", "ending")).gone
    lost["metadata"]["namespace"] = "ending"
    with pytest.raises(errors.StatusError, match="because it is being terminated") as caught:
        await store.create("configmaps", lost)
    assert caught.value.code == 403


async def test_an_invalid_object_names_every_field(store: objects.Objects) -> None:
    bad = config_map("Not A Name")
    bad["metadata"]["labels"] = {"-": "x"}
    with pytest.raises(errors.StatusError) as caught:
        await store.create("configmaps", bad)
    fields = {cause["field"] for cause in caught.value.details["causes"]}
    assert caught.value.code == 422
    assert fields == {"metadata.name", "metadata.labels"}


async def test_an_old_version_is_a_conflict_and_none_is_not(store: objects.Objects) -> None:
    first = await store.create("configmaps", config_map("a", x="1"))
    await store.update("configmaps", "default", "a", _set(x="2"))

    def stale(_: Object) -> Object:
        return {**first.decode(), "data": {"x": "3"}}

    with pytest.raises(errors.StatusError, match="the object has been modified") as caught:
        await store.update("configmaps", "default", "a", stale)
    assert caught.value.code == 409
    assert store.get("configmaps", "default", "a").decode()["data"] == {"x": "2"}


async def test_changes_of_one_object_are_sequential(store: objects.Objects) -> None:
    await store.create("configmaps", config_map("a", n="0"))

    def increment(obj: Object) -> Object:
        return {**obj, "data": {"n": str(int(obj["data"]["n"]) + 1)}}

    await asyncio.gather(
        *(store.update("configmaps", "default", "a", increment) for _ in range(50))
    )
    assert store.get("configmaps", "default", "a").decode()["data"] == {"n": "50"}


async def test_a_change_without_a_difference_tells_nobody(store: objects.Objects) -> None:
    created = await store.create("configmaps", config_map("a", x="1"))
    same = await store.update("configmaps", "default", "a", lambda obj: obj)
    assert same.version == created.version == store.version


async def test_status_is_told_at_once_and_written_later(
    store: objects.Objects, tmp_path: pathlib.Path
) -> None:
    await store.create("pods", pod("p"))
    before = _on_disk(tmp_path / "state.db", "p")

    def running(obj: Object) -> Object:
        return {**obj, "status": {**obj["status"], "phase": "Running"}}

    stored = await store.update_status("pods", "default", "p", running)
    assert stored.decode()["status"]["phase"] == "Running"
    assert _on_disk(tmp_path / "state.db", "p") == before
    await store.write_dirty()
    assert b'"phase":"Running"' in (_on_disk(tmp_path / "state.db", "p") or b"")


async def test_everything_is_there_after_a_restart_and_versions_grow(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "state.db"
    async with opened(path) as store:
        await store.create("namespaces", namespace("default"))
        await store.create("configmaps", config_map("a", x="1"))
        last, uid = store.version, store.get("configmaps", "default", "a").decode()["metadata"]
    async with opened(path) as store:
        found = store.get("configmaps", "default", "a").decode()
        assert found["data"] == {"x": "1"}
        assert found["metadata"]["uid"] == uid["uid"]
        assert int(found["metadata"]["resourceVersion"]) > last


async def test_versions_grow_even_when_nothing_was_closed(tmp_path: pathlib.Path) -> None:
    """As after a power cut: the versions of the dead process were never written down."""
    async with opened(tmp_path / "state.db") as dead:
        await dead.create("namespaces", namespace("default"))
        for number in range(20):
            await dead.create("configmaps", config_map(f"c{number}"))
        copy = tmp_path / "copy.db"
        with sqlite3.connect(tmp_path / "state.db") as source, sqlite3.connect(copy) as target:
            source.backup(target)
        async with opened(copy) as reborn:
            assert reborn.version > dead.version
            assert len(reborn.list("configmaps").items) == 20


async def test_a_pod_waits_for_its_grace_and_goes_when_the_node_is_done(
    store: objects.Objects,
) -> None:
    await store.create("pods", pod("p"))
    deletion = await store.delete("pods", "default", "p")
    meta = deletion.stored.decode()["metadata"]
    assert not deletion.gone
    assert meta["deletionGracePeriodSeconds"] == 30
    done = await store.delete("pods", "default", "p", {"gracePeriodSeconds": 0})
    assert done.gone
    assert store.find("pods", "default", "p") is None


async def test_an_object_with_a_finalizer_goes_with_its_last_one(store: objects.Objects) -> None:
    held = config_map("a")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await store.create("configmaps", held)
    assert not (await store.delete("configmaps", "default", "a")).gone

    def release(obj: Object) -> Object:
        return {**obj, "metadata": {**obj["metadata"], "finalizers": []}}

    await store.update("configmaps", "default", "a", release)
    assert store.find("configmaps", "default", "a") is None


async def test_preconditions_of_a_delete_are_kept(store: objects.Objects) -> None:
    await store.create("configmaps", config_map("a"))
    with pytest.raises(errors.StatusError) as caught:
        await store.delete("configmaps", "default", "a", {"preconditions": {"uid": "other"}})
    assert caught.value.code == 409
    assert store.find("configmaps", "default", "a") is not None


async def test_a_dry_run_changes_nothing(store: objects.Objects) -> None:
    await store.create("configmaps", config_map("a", x="1"))
    version = store.version
    shown = await store.create("configmaps", config_map("b"), dry_run=True)
    assert shown.decode()["metadata"]["uid"]
    updated = await store.update("configmaps", "default", "a", _set(x="2"), dry_run=True)
    assert updated.decode()["data"] == {"x": "2"}
    assert (await store.delete("configmaps", "default", "a", dry_run=True)).gone
    assert store.version == version
    assert [item.name for item in store.list("configmaps").items] == ["a"]


async def test_a_watcher_hears_of_changes_in_order_with_what_was_before(
    store: objects.Objects,
) -> None:
    start = store.version
    await store.create("configmaps", config_map("a", x="1"))
    await store.update("configmaps", "default", "a", _set(x="2"))
    await store.delete("configmaps", "default", "a")
    async with store.watch("configmaps", start) as changes:
        batch = await anext(aiter(changes))
    assert [event.type for event in batch] == [watch.ADDED, watch.MODIFIED, watch.DELETED]
    versions = [event.stored.version for event in batch]
    assert versions == sorted(versions)
    assert batch[0].previous is None
    before = batch[1].previous
    assert before is not None
    assert before.decode()["data"] == {"x": "1"}


async def test_a_watcher_that_fell_behind_is_told_to_list_again(store: objects.Objects) -> None:
    await store.create("configmaps", config_map("a", n="x" * 100_000))
    start = store.version
    async with store.watch("configmaps") as slow:
        for number in range(30):
            await store.update("configmaps", "default", "a", _set(n=f"{number}" + "x" * 100_000))
        with pytest.raises(watch.Expired):
            await anext(aiter(slow))
    with pytest.raises(watch.Expired):
        store.watch("configmaps", start)


async def test_a_medium_that_refuses_leaves_everything_as_it_was(
    store: objects.Objects, tmp_path: pathlib.Path
) -> None:
    await store.create("configmaps", config_map("a", x="1"))
    version = store.version
    blocker = sqlite3.connect(tmp_path / "state.db", isolation_level=None, timeout=0)
    # What a full card does: the transaction cannot be written.
    await store._db._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(errors.StatusError) as caught:
        await store.update("configmaps", "default", "a", _set(x="y" * 200_000))
    blocker.close()
    assert caught.value.code == 507
    assert "full" in caught.value.message
    assert store.version == version
    assert store.get("configmaps", "default", "a").decode()["data"] == {"x": "1"}
    await store._db._db.execute("PRAGMA max_page_count = 1000000")
    await store.update("configmaps", "default", "a", _set(x="2"))
    assert store._db.failure is None


async def test_a_writer_that_gives_up_does_not_undo_the_write(store: objects.Objects) -> None:
    task = asyncio.ensure_future(store.create("configmaps", config_map("a", x="1")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await asyncio.gather(
        store.create("configmaps", config_map("a", x="2")), return_exceptions=True
    )
    assert isinstance(again[0], errors.StatusError)
    assert store.get("configmaps", "default", "a").decode()["data"] == {"x": "1"}


class Tally:
    """An allocator that remembers what it was told."""

    def __init__(self) -> None:
        self.settled: list[tuple[bool, bool]] = []

    def admit(self, new: Object, old: Object | None) -> None:
        new["data"] = {**new.get("data", {}), "given": "1"}

    def settle(self, new: Object | None, old: Object | None) -> None:
        self.settled.append((new is not None, old is not None))


async def test_what_was_allocated_is_settled_also_when_nobody_waits_any_more(
    store: objects.Objects,
) -> None:
    tally = Tally()
    store.allocate_with("configmaps", tally)
    task = asyncio.ensure_future(store.create("configmaps", config_map("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.delete("configmaps", "default", "a")
    assert tally.settled == [(True, False), (False, True)]


async def test_what_was_allocated_for_a_refused_write_is_given_back(
    store: objects.Objects,
) -> None:
    tally = Tally()
    store.allocate_with("configmaps", tally)
    await store._db._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(errors.StatusError):
        await store.create("configmaps", config_map("a", x="y" * 200_000))
    assert tally.settled == [(False, True)]
    await store._db._db.execute("PRAGMA max_page_count = 1000000")


class Stamp:
    """An admission that waits a moment, and refuses what is marked."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def admit(self, new: Object) -> None:
        await asyncio.sleep(0)
        if "unwanted" in new["data"]:
            raise errors.forbidden("configmaps", new["metadata"]["name"], "unwanted")
        new["data"] = {**new["data"], "admitted": new["data"].get("admitted", "") + self._name}


async def test_admissions_complete_new_objects_in_order_and_only_new_ones(
    store: objects.Objects,
) -> None:
    for name in ("a", "b"):
        store.admit_with("configmaps", Stamp(name))
    made = await store.create("configmaps", config_map("one"))
    assert made.decode()["data"]["admitted"] == "ab"
    changed = await store.update("configmaps", "default", "one", _set(x="1"))
    assert changed.decode()["data"] == {"x": "1"}
    tried = await store.create("configmaps", config_map("two"), dry_run=True)
    assert tried.decode()["data"]["admitted"] == "ab"


async def test_what_admission_refuses_is_not_stored(store: objects.Objects) -> None:
    store.admit_with("configmaps", Stamp("a"))
    with pytest.raises(errors.StatusError, match='configmaps "one" is forbidden: unwanted'):
        await store.create("configmaps", config_map("one", unwanted="1"))
    assert store.find("configmaps", "default", "one") is None


async def _changes(store: objects.Objects, count: int) -> list[int]:
    """Their versions."""
    await store.create("configmaps", config_map("c"))
    each = [await store.update("configmaps", "default", "c", _set(n=str(n))) for n in range(count)]
    return [stored.version for stored in each]


async def test_history_is_kept_for_some_steps_of_time(store: objects.Objects) -> None:
    versions = await _changes(store, 3)
    for _ in range(watch.KEPT_STEPS):
        store.grow_old()
        assert len(store.history("configmaps", versions[0])) == 2
    await store.update("configmaps", "default", "c", _set(n="new"))
    store.grow_old()
    with pytest.raises(watch.Expired):
        store.history("configmaps", versions[0])
    assert len(store.history("configmaps", versions[2])) == 1


async def test_what_a_watch_has_yet_to_read_is_not_forgotten(store: objects.Objects) -> None:
    async with store.watch("configmaps") as slow:
        versions = await _changes(store, 3)
        store.forget_history()
        for _ in range(watch.KEPT_STEPS + 1):
            store.grow_old()
        batch = await anext(slow)
        assert [event.stored.version for event in batch][1:] == versions
        assert len(store.history("configmaps", versions[1])) == 1
        store.forget_history()
    with pytest.raises(watch.Expired):
        store.history("configmaps", versions[1])
    assert store.history("configmaps", versions[2]) == []


async def test_the_latest_history_is_not_forgotten(store: objects.Objects) -> None:
    """Whoever is between two pages of a list goes on with it."""
    versions = await _changes(store, 2)
    store.forget_history()
    assert len(store.history("configmaps", versions[0])) == 1
    store.grow_old()
    later = await store.update("configmaps", "default", "c", _set(n="new"))
    store.forget_history()
    with pytest.raises(watch.Expired):
        store.history("configmaps", versions[0])
    assert [e.stored.version for e in store.history("configmaps", versions[1])] == [later.version]
