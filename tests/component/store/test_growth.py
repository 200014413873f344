"""What the store takes of the medium depends on what is in it, not on how much there ever was."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from edgeorch.store import objects
from tests.component.store import conftest as stores
from tests.system import lab as labs

ROUND = 100
BIG = 300_000


def size(folder: pathlib.Path) -> int:
    """Bytes that all files of the store own on the medium."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


async def at_rest(store: objects.Objects, folder: pathlib.Path) -> int:
    """Its size, once it has made room for what comes: it does so after it has answered."""
    async with store._db._turn:
        return size(folder)


def lease(name: str) -> stores.Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}}


def event(name: str) -> stores.Object:
    meta = {"name": name, "namespace": "default"}
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": involved,
        "reason": "Said", "message": name, "type": "Normal",
    }  # fmt: skip


async def live(store: objects.Objects) -> None:
    """Objects of several kinds that come, change and go: a day of a busy device."""

    def changed(obj: stores.Object) -> stores.Object:
        return {**obj, "data": {"a": obj["data"]["a"][::-1]}}

    def renewed(obj: stores.Object) -> stores.Object:
        return {**obj, "spec": {"leaseTransitions": 1}}

    def told(obj: stores.Object) -> stores.Object:
        return {**obj, "status": {"phase": "Running", "message": "m" * 500}}

    names = [f"n{number}" for number in range(ROUND)]
    made = (
        ("configmaps", [stores.config_map(name, a="ab" * 500) for name in names]),
        ("pods", [stores.pod(name) for name in names]),
        ("leases.coordination.k8s.io", [lease(name) for name in names]),
        ("events", [event(name) for name in names]),
    )
    await asyncio.gather(*(store.create(kind, each) for kind, every in made for each in every))
    await asyncio.gather(
        *(store.update("configmaps", "default", name, changed) for name in names),
        *(store.update("pods", "default", name, told, subresource="status") for name in names),
        *(store.update("leases.coordination.k8s.io", "default", name, renewed) for name in names),
    )
    await store.write_dirty()
    await asyncio.gather(
        *(
            store.delete(kind, "default", name, {"gracePeriodSeconds": 0})
            for kind, _ in made
            for name in names
        )
    )


@pytest.mark.ask(3)
async def test_much_that_comes_and_goes_takes_no_more_room(tmp_path: pathlib.Path) -> None:
    async with stores.opened(tmp_path / "state.db") as store:
        await store.create("namespaces", stores.namespace("default"))
        for _ in range(5):
            await live(store)
        settled = await at_rest(store, tmp_path)
        for _ in range(labs.rounds(10, 500)):
            await live(store)
        assert await at_rest(store, tmp_path) <= settled


@pytest.mark.ask(3)
async def test_room_is_given_back_at_the_next_start(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.db"
    async with stores.opened(path) as store:
        await store.create("namespaces", stores.namespace("default"))
        await store.create("configmaps", stores.config_map("small", a="b"))
        big = [f"big{number}" for number in range(30)]
        for name in big:
            await store.create("configmaps", stores.config_map(name, a="a" * BIG))
        for name in big:
            await store.delete("configmaps", "default", name)
    assert path.stat().st_size > len(big) * BIG
    async with stores.opened(path) as store:
        assert path.stat().st_size < BIG
        found = store.find("configmaps", "default", "small")
        assert found is not None
        assert found.decode()["data"] == {"a": "b"}


async def test_the_log_of_one_big_change_does_not_stay(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "state.db-wal"
    async with stores.opened(tmp_path / "state.db") as store:
        await store.create("namespaces", stores.namespace("default"))
        every = [stores.config_map(f"big{number}", a="a" * BIG) for number in range(40)]
        await asyncio.gather(*(store.create("configmaps", each) for each in every))
        assert log.stat().st_size > 40 * BIG
        for _ in range(5):
            await live(store)
        assert log.stat().st_size < 40 * BIG
