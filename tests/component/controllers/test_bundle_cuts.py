"""Bundles pushed, cut and taken back at random: the device always equals some acknowledged version.

The real store and the real controller; a cut is the store's files as they are between any two
transactions, opened by another process' worth of objects. Whether it becomes ready is in the
version: a Deployment of which nobody makes pods never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeorch.controllers import bundles as controller
from edgeorch.controllers import world
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import bundles, errors, kinds, schema
from edgeorch.store import database, objects, recorder
from tests.system.lab import rounds

DEADLINE = 60
TABLE = schema.load()
REGISTRY = kinds.Registry()


@dataclass(frozen=True)
class Version:
    """The names of its ConfigMaps, with what is in them, and whether it ever becomes ready."""

    number: int
    names: tuple[str, ...]
    good: bool

    @property
    def manifests(self) -> bytes:
        found: list[dict[str, Any]] = [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"version": str(self.number)},
            }
            for name in self.names
        ]
        if not self.good:
            labels = {"app": "never"}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }
            found.append({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "never"},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            })  # fmt: skip
        return json.dumps(found).encode()

    @property
    def shown(self) -> dict[str, str]:
        """What is on the device with it."""
        found = dict.fromkeys(self.names, str(self.number))
        return found if self.good else {**found, "never": ""}


@dataclass
class Device:
    folder: Path
    clock: clocks.ManualClock
    store: objects.Objects = field(init=False)
    db: database.Database = field(init=False)
    bundles: controller.Bundles = field(init=False)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.db = database.Database(self.folder / "state.db")
        await self.db.open()
        self.store = objects.Objects(self.db, REGISTRY, self.clock)
        await self.store.load()
        shared = world.World(self.store, recorder.Log(self.store, self.clock, "n"), self.clock, "n")
        self.bundles = controller.Bundles(shared, TABLE)
        writer = asyncio.ensure_future(self.db.run())
        if self.store.find("namespaces", "", "default") is None:
            meta = {"name": "default"}
            await self.store.create(
                "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
            )
        try:
            async with tasks.running({"world": shared.run, "bundles": self.bundles.run}):
                yield
        finally:
            await tasks.cancel_and_wait(writer)
            await self.db.close()

    async def cut(self, target: Path) -> None:
        """The files as they are now, between two transactions."""
        async with self.db._turn:
            shutil.copytree(self.folder, target)

    async def push(self, version: Version) -> None:
        items, causes = bundles.parse(version.manifests, TABLE, REGISTRY)
        assert not causes
        asked = bundles.Push("app", version.manifests, items, deadline=DEADLINE)
        await self.bundles.push(asked, lambda _: None)

    def shown(self) -> dict[str, str]:
        found = {
            stored.name: stored.decode()["data"]["version"]
            for stored in self.store.list("configmaps").items
        }
        deployments = self.store.list("deployments.apps").items
        return {**found, **{stored.name: "" for stored in deployments}}

    def status(self) -> dict[str, Any]:
        stored = self.store.find("bundles.edgeorch.io", "", "app")
        return stored.decode().get("status") or {} if stored is not None else {}

    async def settle(self, expected: Version | None) -> None:
        """Until the device shows that version; raises AssertionError when it does not."""
        wanted = expected.shown if expected else {}
        for _ in range(2000):
            # What the status says right after a start is from before the cut.
            looked = expected is None or "app" in self.bundles._lives
            phase = self.status().get("phase")
            if looked and self.shown() == wanted and phase in self._resting(expected):
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"shows {self.shown()}, not {wanted}: {self.status()}")

    def _resting(self, expected: Version | None) -> tuple[str | None, ...]:
        if expected is None:
            return (None, "Pending")
        return ("Ready", "RolledBack") if expected.good else ("Progressing", "Degraded")


@dataclass
class Fleet:
    """What was asked for, and what is to be there."""

    dice: random.Random
    count: int = 0
    pushed: Version | None = None
    good: Version | None = None

    def next(self) -> Version:
        self.count += 1
        names = tuple(sorted(self.dice.sample("abcdefgh", self.dice.randrange(1, 6))))
        return Version(self.count, names, self.dice.random() < 0.6)

    def acknowledged(self, version: Version) -> None:
        self.pushed = version
        if version.good:
            self.good = version

    def timed_out(self) -> None:
        """A version that is no good goes back to the last that was, where there is one."""
        if self.pushed is not None and not self.pushed.good and self.good is not None:
            self.pushed = self.good


async def test_the_device_equals_an_acknowledged_version(tmp_path: Path) -> None:
    wanted = rounds(30, 1000)
    fleet = Fleet(random.Random(11))
    clock = clocks.ManualClock()
    folder, cuts = tmp_path / "0", 0
    while fleet.count < wanted:
        device = Device(folder, clock)
        following = tmp_path / str(fleet.count + 1)
        async with device.running():
            await device.settle(fleet.pushed)
            for _ in range(fleet.dice.randrange(1, 4)):
                await _one_turn(device, fleet, clock)
            cuts += await _pushed_into_a_cut(device, fleet, following)
        shutil.rmtree(folder)
        folder = following
    print(f"{fleet.count} bundles, {cuts} cuts in the midst of a push")


async def _one_turn(device: Device, fleet: Fleet, clock: clocks.ManualClock) -> None:
    if fleet.dice.random() < 0.7:
        version = fleet.next()
        await device.push(version)
        fleet.acknowledged(version)
        await device.settle(version)
    else:
        clock.advance(DEADLINE + 1)
        device.bundles.wake("app")
        fleet.timed_out()
        await device.settle(fleet.pushed)


async def _pushed_into_a_cut(device: Device, fleet: Fleet, target: Path) -> int:
    """Begin a push, and cut at some transaction of it; it may have been acknowledged or not."""
    version = fleet.next()
    pushing = asyncio.ensure_future(device.push(version))
    for _ in range(fleet.dice.randrange(0, 60)):
        await asyncio.sleep(0)
    was_answered = pushing.done()
    await device.cut(target)
    with contextlib.suppress(errors.StatusError):
        await pushing
    wanted = await _wanted_in(target)
    if wanted == bundles.version_of(version.manifests):
        fleet.acknowledged(version)
    else:
        assert not was_answered, "acknowledged and lost"
    return int(not was_answered)


async def _wanted_in(folder: Path) -> str:
    """The version that the files ask for."""
    db = database.Database(folder / "state.db")
    await db.open()
    try:
        store = objects.Objects(db, REGISTRY, clocks.SystemClock())
        await store.load()
        stored = store.find("bundles.edgeorch.io", "", "app")
        found: str = stored.decode()["spec"].get("version", "") if stored is not None else ""
        return found
    finally:
        await db.close()
