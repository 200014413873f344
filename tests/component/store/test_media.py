"""The store on a medium that is full, has no inodes left, is read-only or broken."""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest

from edgeorch import check, config
from edgeorch.lib import tasks
from edgeorch.model import errors
from edgeorch.store import database, objects
from tests import media
from tests.component.store.conftest import config_map, namespace, opened

pytestmark = media.needs_loop
RESERVED = 4 << 20


@pytest.fixture
def medium(tmp_path: pathlib.Path) -> Iterator[media.Medium]:
    with media.ext4(tmp_path, 32) as found:
        yield found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "TRY_AGAIN", 0.02)
    monkeypatch.setattr(database, "MAKE_ROOM", 0.02)


def store_on(medium: media.Medium) -> pathlib.Path:
    return medium.path / "state.db"


async def create(store: objects.Objects, name: str) -> None:
    await store.create("configmaps", config_map(name, text="x"))


async def change(store: objects.Objects, name: str, size: int) -> None:
    data = {"text": secrets.token_hex(size // 2)}
    await store.update("configmaps", "default", name, lambda obj: {**obj, "data": data})


async def fill_up(store: objects.Objects, names: list[str]) -> errors.StatusError:
    """Have what is there grow until it may not; the refusal."""
    for name in names:
        try:
            await change(store, name, 900_000)
        except errors.StatusError as error:
            return error
    raise AssertionError("the disk never filled up")


def reserve_of(medium: media.Medium) -> list[str]:
    folder = medium.path / "reserve"
    return sorted(os.listdir(folder)) if folder.exists() else []


async def test_on_a_full_disk_room_can_still_be_made(
    medium: media.Medium, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgeorch.store")
    names = [str(number) for number in range(40)]
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        for name in names:
            await create(store, name)
        assert len(reserve_of(medium)) == 4
        filler = medium.fill()
        with pytest.raises(errors.StatusError) as new:
            await create(store, "new")
        # Changes go on for long: the log has blocks of its own.
        for number in range(600):
            await change(store, "0", 1000 + number)
        assert len(reserve_of(medium)) == 4
        refused = await fill_up(store, names[1:])
        assert reserve_of(medium) == []
        for each in (new.value, refused):
            assert (each.code, each.reason) == (507, "InsufficientStorage")
            for said in (f"the file system of {medium.path} is full", "edgeorch image prune"):
                assert said in each.message
        assert store.find("configmaps", "default", "39")
        assert store.failure == refused.message
        filler.unlink()
        async with asyncio.timeout(10):
            while len(reserve_of(medium)) < 4 or store.failure:
                await asyncio.sleep(0.01)
        await create(store, "new")
        told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(told) == 2, told  # the reserve was given up; the medium refuses


async def test_without_any_room_deleting_works(medium: media.Medium) -> None:
    """Whoever fills the disk would take a reserve that is given up as well, at once."""
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        for number in range(100):
            await create(store, str(number))
        medium.fill()
        shutil.rmtree(medium.path / "reserve")
        medium.fill()
        with pytest.raises(OSError, match="No space left"):
            (medium.path / "other").write_bytes(bytes(10_000))
        for number in range(100):
            await store.delete("configmaps", "default", str(number))
        assert not store.list("configmaps").items


@pytest.mark.parametrize("what", ["blocks", "inodes"])
async def test_it_starts_on_a_full_disk(medium: media.Medium, what: str) -> None:
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "held")
    if what == "blocks":
        medium.fill()
    else:
        medium.fill_inodes()
        assert medium.free_inodes == 0
    async with opened(store_on(medium), reserved=RESERVED) as store:
        assert store.find("configmaps", "default", "held")
        if what == "inodes":
            await create(store, "new")
        await store.delete("configmaps", "default", "held")


async def test_one_that_turned_read_only_says_so(medium: media.Medium) -> None:
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "held")
        medium.make_read_only()
        with pytest.raises(errors.StatusError) as refused:
            await create(store, "new")
        assert refused.value.code == 503
        assert f"the file system of {medium.path} is read-only" in refused.value.message
        assert len(reserve_of(medium)) == 4
        assert store.find("configmaps", "default", "held")
        assert store.failure == refused.value.message


async def test_one_that_turned_read_only_is_known_of_before_anybody_writes(
    medium: media.Medium,
) -> None:
    db = database.Database(store_on(medium))
    await db.open()
    async with tasks.running({"writer": db.run}):
        medium.make_read_only()
        db.look()
        async with asyncio.timeout(10):
            while db.failure is None:
                await asyncio.sleep(0.01)
    assert f"the file system of {medium.path} is read-only" in db.failure
    await db.close()


async def test_one_that_fails_says_so(medium: media.Medium) -> None:
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "held")
        medium.break_down()
        with pytest.raises(errors.StatusError) as refused:
            await create(store, "new")
        assert refused.value.code == 503
        assert f"the medium of {medium.path} fails (Input/output error)" in refused.value.message
        assert store.find("configmaps", "default", "held")


async def test_a_start_on_a_read_only_medium_serves_what_is_there(
    medium: media.Medium, tmp_path: pathlib.Path
) -> None:
    spare = tmp_path / "spare"
    async with opened(store_on(medium), reserved=RESERVED) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "held")
    medium.mount("ro")
    async with opened(store_on(medium), reserved=RESERVED, spare=spare) as store:
        assert store.find("configmaps", "default", "held")
        assert f"the file system of {medium.path} is read-only" in (store.failure or "")
        for refused in (create(store, "new"), store.delete("configmaps", "default", "held")):
            with pytest.raises(errors.StatusError) as told:
                await refused
            assert (told.value.code, told.value.message) == (503, store.failure)
        medium.mount("rw")
        async with asyncio.timeout(10):
            while store.failure:
                await asyncio.sleep(0.01)
        assert not spare.exists()
        await create(store, "new")
        version = store.version
    async with opened(store_on(medium), reserved=RESERVED, spare=spare) as store:
        assert store.find("configmaps", "default", "held")
        assert store.find("configmaps", "default", "new")
        assert store.version > version


async def test_a_start_after_a_kill_on_such_a_medium_knows_the_last_word(
    medium: media.Medium, tmp_path: pathlib.Path
) -> None:
    async with opened(store_on(medium)) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "last")
        medium.make_read_only()
        async with opened(store_on(medium), spare=tmp_path / "spare") as again:
            assert again.find("configmaps", "default", "last")


async def test_a_start_where_nothing_can_be_read_says_why(
    medium: media.Medium, tmp_path: pathlib.Path
) -> None:
    async with opened(store_on(medium)) as store:
        await store.create("namespaces", namespace("default"))
    medium.break_down()
    with pytest.raises(database.StorageError, match="fails \\(Input/output error\\)"):
        await database.Database(store_on(medium), spare=tmp_path / "spare").open()


@pytest.mark.parametrize(
    ("fail", "text", "fix"),
    [
        (lambda medium: medium.fill(), "is full", "remove images"),
        (lambda medium: medium.mount("ro"), "is read-only", "mount it writable again"),
        (lambda medium: medium.break_down(), "Input/output error", "reboot"),
    ],
    ids=["full", "read-only", "broken"],
)
def test_check_says_what_is_the_matter_with_the_medium(
    medium: media.Medium, fail: Callable[[media.Medium], object], text: str, fix: str
) -> None:
    chosen = config.parse(f"data_dir: {medium.path}")
    fail(medium)
    found = {each.name: each for each in check.run(chosen)}["data directory"]
    assert found.level == check.FAILURE
    assert text in found.text
    assert fix in found.fix


@pytest.mark.ask(29)
async def test_one_that_stalls_holds_up_writes_only_and_says_so(
    medium: media.Medium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SLOW", 0.05)
    async with opened(store_on(medium)) as store:
        await store.create("namespaces", namespace("default"))
        await create(store, "early")
        with medium.stalled():
            late = asyncio.ensure_future(create(store, "late"))
            async with asyncio.timeout(20):
                while (told := store._db.trouble) is None:
                    await asyncio.sleep(0.01)
            assert f"cannot write {store_on(medium)}: {medium.path} has not answered for" in told
            assert store.find("configmaps", "default", "early") is not None
            assert not late.done()
        await late
        assert store._db.trouble is None
        assert store.find("configmaps", "default", "late") is not None
