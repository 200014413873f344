"""Power cuts: whatever is on the disk then, nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from edgeorch.store import recovery
from tests.system.lab import rounds

from . import cuts
from .conftest import opened

Acked = dict[str, str]


@pytest.mark.ask(13)
async def test_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    """At any step of a busy store, with what was not synced lost, kept, torn or kept in part."""
    changes, wanted = rounds(120, 1500), rounds(100, 6000)
    library = cuts.build(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    program = Path(cuts.__file__).with_name("workload.py")
    steps = cuts.recorded(library, program, data, tmp_path / "log", "7", str(changes))
    syncs = sum(step.what == "s" for step in steps)
    assert syncs > changes // 10, "the recorder sees nothing"

    dice = random.Random(7)
    points = set(dice.sample(range(1, len(steps) + 1), min(wanted, len(steps))))
    disk, acked, version, done = cuts.Disk(), Acked(), 0, 0
    for number, step in enumerate(steps, 1):
        if step.path == "acks":
            name, value, told = step.data.decode().split()
            acked[name] = value
            version = max(version, int(told))
        else:
            disk.play(step)
        if number not in points:
            continue
        # The change that is under way may be there or not: only what was told counts.
        later = {after.data.split()[0].decode() for after in _next_acks(steps, number)}
        folder = tmp_path / "cut"
        folder.mkdir()
        disk.cut(folder, dice)
        await _check(folder, acked, version, unsure=later)
        shutil.rmtree(folder)
        done += 1
    print(f"{done} cuts, 0 acknowledged writes lost")
    assert done == len(points)


def _next_acks(steps: list[cuts.Step], begin: int) -> list[cuts.Step]:
    """Those that come next: three at a time are on their way."""
    found = []
    for step in steps[begin:]:
        if step.path == "acks":
            found.append(step)
            if len(found) == 6:
                break
    return found


async def _check(folder: Path, acked: Acked, version: int, unsure: set[str]) -> None:
    assert recovery.mend(folder / "state.db") is None
    async with opened(folder / "state.db") as store:
        assert store.version > version
        found = {
            stored.name: stored.decode()["data"]["value"]
            for stored in store.list("configmaps").items
        }
    for name, value in acked.items():
        if name not in unsure:
            assert found.get(name, "-") == value, name
