"""A store at work: what is acknowledged is written down the moment it is.

    workload.py FOLDER SEED CHANGES

`FOLDER/acks` gets a line for each change that was acknowledged: name, value ("-": deleted),
version.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import kinds
from edgeorch.store import backup, database, objects

NAMES = 12


async def main(folder: Path, seed: int, changes: int) -> None:
    dice = random.Random(seed)
    db = database.Database(folder / "state.db")
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
    await store.load()
    writer = asyncio.ensure_future(db.run())
    if store.find("namespaces", "", "default") is None:
        await store.create("namespaces", {
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"},
        })  # fmt: skip
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    left = iter(range(changes))

    async def one(names: list[str]) -> None:
        for number in left:
            name = dice.choice(names)
            value, version = await _change(store, name, number, dice)
            os.write(acks, f"{name} {value} {version}\n".encode())
            if dice.random() < 0.02:
                await asyncio.to_thread(backup.make, folder / "state.db")

    # Side by side, each with names of its own: they share transactions.
    await asyncio.gather(*(one([f"c{i}" for i in range(NAMES) if i % 3 == j]) for j in range(3)))
    await tasks.cancel_and_wait(writer)
    await db.close()


async def _change(
    store: objects.Objects, name: str, number: int, dice: random.Random
) -> tuple[str, int]:
    found = store.find("configmaps", "default", name)
    if found is not None and dice.random() < 0.2:
        deleted = await store.delete("configmaps", "default", name)
        return "-", deleted.stored.version
    data = {"value": str(number), "weight": "x" * dice.choice((10, 1000, 9000))}
    if found is None:
        meta = {"name": name, "namespace": "default"}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        return str(number), (await store.create("configmaps", obj)).version

    def change(current: dict[str, Any]) -> dict[str, Any]:
        return {**current, "data": data}

    return str(number), (await store.update("configmaps", "default", name, change)).version


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
