"""Room for the images of a bundle: what nobody needs makes some, or it is refused."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from edgeorch.agent import fit_check
from edgeorch.core import image_room, pressure
from edgeorch.lib import clock as clocks
from edgeorch.lib import json
from edgeorch.model import bundles, kinds, schema
from edgeorch.runtime import errors
from edgeorch.store import database, objects
from edgeorch.wire import oci

REGISTRY = kinds.Registry()
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "new"}]},
}
ITEMS, _ = bundles.parse(json.encode(POD), schema.load(), REGISTRY)
NEW = "docker.io/library/new:latest"


class Disk:
    """1000 bytes, of which old images take some that may go; one is to come with 100, twice."""

    def __init__(self, available: int, garbage: int) -> None:
        self.available, self.garbage = available, garbage
        self.asked: list[tuple[int, set[str]]] = []

    async def get(self, ref: str) -> Any:
        raise errors.NotFound(ref)

    async def layers(self, ref: str, auths: list[bytes]) -> Sequence[oci.Descriptor]:
        return [oci.Descriptor("", "sha256:x", 100)]

    async def room(self, layers: Sequence[oci.Descriptor]) -> image_room.Room | None:
        return image_room.Room(100, self.available, self.available, 1000, "/")

    async def removable(self, keep: Collection[str]) -> int:
        return self.garbage

    async def make_room(self, amount: int, keep: Collection[str]) -> None:
        self.asked.append((amount, set(keep)))
        self.available += min(self.garbage, amount)


async def _look(disk: Any, folder: pathlib.Path, *, dry_run: bool) -> tuple[list[str], list[str]]:
    db = database.Database(folder / "state.db")
    await db.open()
    try:
        store = objects.Objects(db, REGISTRY, clocks.SystemClock())
        await store.load()
        rules = pressure.policy({"imagefs.available": "15%"}, {}, {}, {})
        gate = fit_check.FitCheck(
            store, disk, disk, disk, "n", pressure_rules=rules, data_dir=folder
        )
        causes, told = await gate.look("app", ITEMS, dry_run=dry_run)
    finally:
        await db.close()
    return [f"{cause.field}: {cause.message}" for cause in causes], told


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_leaves_enough_is_let_in(dry_run: bool, tmp_path: pathlib.Path) -> None:
    disk = Disk(available=350, garbage=50)
    assert await _look(disk, tmp_path, dry_run=dry_run) == ([], [])
    assert not disk.asked


async def test_what_nobody_needs_makes_room(tmp_path: pathlib.Path) -> None:
    disk = Disk(available=310, garbage=50)
    causes, told = await _look(disk, tmp_path, dry_run=True)
    assert (causes, disk.asked) == ([], [])
    assert told[0].startswith("images that nobody needs would have to make room: ")
    assert await _look(disk, tmp_path, dry_run=False) == ([], [])
    assert disk.asked == [(40, {NEW})]


async def test_what_does_not_fit_even_so_is_refused_and_nothing_goes(
    tmp_path: pathlib.Path,
) -> None:
    disk = Disk(available=299, garbage=50)
    for dry_run in (True, False):
        (cause,), _ = await _look(disk, tmp_path, dry_run=dry_run)
        assert cause.startswith("images: ")
        assert "the device has DiskPressure" in cause
    assert not disk.asked
