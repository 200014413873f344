"""Bundles pushed, cut and taken back at random: the device always equals some acknowledged version.

The real store and the real controller. A cut is the store's files as they are right after any one
of the transactions that an action leads to, opened by another process' worth of objects; nobody has
heard of that transaction yet. Whether a version becomes ready is in the version: a Deployment of
which nobody makes pods never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from edgeorch.controllers import bundles as controller
from edgeorch.controllers import world
from edgeorch.core import bundle_plan
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import bundles, errors, kinds, schema
from edgeorch.store import database, objects, recorder
from tests.system.lab import rounds

DEADLINE = 100_000
"""Seconds: longer than all pauses of one run together."""
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
    def digest(self) -> str:
        return bundles.version_of(self.manifests)

    @property
    def shown(self) -> dict[str, str]:
        """What is on the device with it."""
        found = dict.fromkeys(self.names, str(self.number))
        return found if self.good else {**found, "never": ""}


@dataclass(frozen=True)
class Model:
    """What is to be: what was asked for, and what is on the device when it has come to rest."""

    wanted: Version | None = None
    there: Version | None = None
    good: Version | None = None
    refused: tuple[Version, ...] = ()
    starts: int = 0
    held: bool = False
    gone: frozenset[str] = frozenset()
    """Deleted by hand, and not to be made again now."""
    changed: frozenset[str] = frozenset()
    """By hand: left so until something is applied."""
    owed: bool = False
    """What is there was pushed again, and that waits."""

    @property
    def aim(self) -> Version | None:
        return self.good if self.wanted in self.refused else self.wanted

    @property
    def shown(self) -> dict[str, str]:
        found = self.there.shown if self.there is not None else {}
        found |= dict.fromkeys(self.changed, BY_HAND)
        return {name: text for name, text in found.items() if name not in self.gone}

    @property
    def phases(self) -> tuple[str | None, ...]:
        if self.wanted is None:
            return (None, "Pending")
        if self.there != self.aim:
            return ("Pending",)
        if self.wanted in self.refused:
            return ("RolledBack",)
        if not self.wanted.good:
            return ("Progressing", "Degraded")
        return ("Degraded",) if self.gone else ("Ready",)

    @property
    def kept(self) -> set[str]:
        """Versions whose manifests are."""
        needed = (self.wanted, self.there, self.good)
        return {bundles.short(each.digest) for each in needed if each is not None}

    def rested(self) -> Model:
        """Once everything has been done that is to be done by itself."""
        now, aim = self, self.aim
        waits = self.held and aim == self.wanted
        if now.there != aim and not waits:
            now = replace(now, there=aim, starts=0).applied()
        if now.there is not None and now.there == now.wanted and now.there.good:
            now = replace(now, good=now.there, starts=0)
        if now.held:
            return now
        return now.applied() if now.owed else replace(now, gone=frozenset())

    def applied(self) -> Model:
        return replace(self, gone=frozenset(), changed=frozenset(), owed=False)

    def pushed(self, version: Version) -> Model:
        refused = tuple(each for each in self.refused if each != version)
        owed = self.there == version and bool(self.gone or self.changed)
        return replace(self, wanted=version, refused=refused, owed=owed).rested()

    def late(self) -> Model:
        """The version on trial, if there is one, has had its time."""
        bad = self.wanted
        if bad is None or bad.good or self.there != bad or self.good is None:
            return self
        refused = (*self.refused, bad)[-bundle_plan.MAX_REFUSED :]
        return replace(self, refused=refused).rested()

    def begun(self) -> Model:
        """The process has started with this in its files."""
        on_trial = self.there is not None and self.there == self.wanted != self.good
        now = replace(self, starts=self.starts + 1) if on_trial else self
        if on_trial and now.starts >= bundle_plan.MAX_STARTS:
            return replace(now.late(), owed=False).rested()
        return replace(now, owed=False).rested()

    def deleted(self) -> Model:
        return Model(held=self.held)


class Hold:
    def __init__(self) -> None:
        self.why = ""
        self.news = asyncio.Event()

    def reason(self) -> str:
        return self.why

    async def changed(self) -> None:
        await self.news.wait()
        self.news.clear()

    def set(self, why: str) -> None:
        self.why = why
        self.news.set()


@dataclass
class Device:
    folder: Path
    clock: clocks.ManualClock
    held: bool
    hold: Hold = field(default_factory=Hold)
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
        self.hold.set("the robot moves" if self.held else "")
        self.bundles = controller.Bundles(shared, TABLE, hold=self.hold)
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

    async def push(self, version: Version, *, force: bool = False) -> str:
        """Why it has to wait, "" when it has not."""
        items, causes = bundles.parse(version.manifests, TABLE, REGISTRY)
        assert not causes
        asked = bundles.Push("app", version.manifests, items, deadline=DEADLINE, force=force)
        return (await self.bundles.push(asked, lambda _: None)).held

    def shown(self) -> dict[str, str]:
        found = {
            stored.name: stored.decode()["data"]["version"]
            for stored in self.store.list("configmaps").items
        }
        deployments = self.store.list("deployments.apps").items
        return {**found, **{stored.name: "" for stored in deployments}}

    def kept(self) -> set[str]:
        revisions = self.store.list("bundlerevisions.edgeorch.io").items
        return {stored.name.removeprefix("app-") for stored in revisions}

    def bundle(self) -> dict[str, Any]:
        stored = self.store.find("bundles.edgeorch.io", "", "app")
        return stored.decode() if stored is not None else {}

    async def settle(self, wanted: Model) -> None:
        """Until the device is as the model has it; raises AssertionError when it never is."""
        calm = 0
        for _ in range(5000):
            is_there = self._is_like(wanted) and not self._is_busy()
            # What the status says right after a start is from before the cut.
            has_looked = "app" in self.bundles._lives or not self.bundle()
            calm = calm + 1 if is_there and has_looked else 0
            if calm > 3:
                return
            await asyncio.sleep(0 if calm else 0.0005)
        status = self.bundle().get("status")
        raise AssertionError(f"shows {self.shown()}, {self.kept()}, {status}; not {wanted}")

    def _is_like(self, wanted: Model) -> bool:
        phase = (self.bundle().get("status") or {}).get("phase")
        return (
            self.shown() == wanted.shown and self.kept() == wanted.kept and phase in wanted.phases
        )

    def _is_busy(self) -> bool:
        queue = self.bundles._queue
        return bool(queue._wanted or queue._working) or self.bundles._changing.locked()


async def _files(folder: Path) -> dict[str, Any]:
    """The Bundle that they hold."""
    db = database.Database(folder / "state.db")
    await db.open()
    try:
        store = objects.Objects(db, REGISTRY, clocks.SystemClock())
        await store.load()
        stored = store.find("bundles.edgeorch.io", "", "app")
        found = store.list("configmaps").items
        texts = {each.name: each.decode()["data"]["version"] for each in found}
        return {**(stored.decode() if stored is not None else {}), "texts": texts}
    finally:
        await db.close()


CUTS = st.none() | st.integers(1, 8)
"""At which write of what a step leads to the power goes; beyond the last one when it is at rest."""
BY_HAND = "changed by hand"
NAMES = st.sets(st.sampled_from("abcdef"), min_size=1)


class Fleet(stateful.RuleBasedStateMachine):
    """A sender, a hand on the device, and no mains."""

    pushes: ClassVar[int] = 0
    cuts: ClassVar[int] = 0
    midway: ClassVar[int] = 0
    """Of the cuts, those with something yet to be done."""
    back: ClassVar[int] = 0
    versions = stateful.Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp())
        self.clock = clocks.ManualClock()
        self.model = Model()
        self.known: dict[str, Version] = {}
        self.folders = 0
        self.device = self._device(self._folder())
        self.device.folder.mkdir()
        self._wait(self._start())

    def teardown(self) -> None:
        self._wait(self._stop())
        self._wait(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.home)

    # --- what may happen ------------------------------------------------------------------------

    @stateful.initialize(target=versions)
    def begin(self) -> Version:
        version = self._version({"a", "b"}, good=True)
        self._push(version, None)
        return version

    @stateful.rule(target=versions, names=NAMES, cut=CUTS)
    def push(self, names: set[str], cut: int | None) -> Version:
        version = self._version(names, good=True)
        self._push(version, cut)
        return version

    @stateful.rule(target=versions, names=NAMES, cut=CUTS, then=st.booleans(), later=CUTS)
    def push_a_bad_one(
        self, names: set[str], cut: int | None, then: bool, later: int | None
    ) -> Version:
        """`then` its deadline passes, and nothing keeps it from counting."""
        version = self._version(names, good=False)
        self._push(version, cut)
        if then and self.model.held:
            self.let_go(None)
        if then:
            self.be_late(later)
        return version

    def _version(self, names: set[str], *, good: bool) -> Version:
        version = Version(len(self.known) + 1, tuple(sorted(names)), good)
        self.known[version.digest] = version
        return version

    @stateful.rule(version=versions, force=st.booleans(), cut=CUTS)
    def push_again(self, version: Version, force: bool, cut: int | None) -> None:
        if version in self.model.refused and not force:
            with pytest.raises(errors.StatusError, match="has failed on this device"):
                self._wait(self.device.push(version))
        else:
            self._push(version, cut, force=force)

    def _push(self, version: Version, cut: int | None, *, force: bool = False) -> None:
        model = self.model
        waits = model.held and (model.there != version or bool(model.gone or model.changed))
        Fleet.pushes += 1

        async def do() -> None:
            held = await self.device.push(version, force=force)
            assert bool(held) == waits

        self._step(do, self.model.pushed(version), cut)

    @stateful.rule(cut=CUTS)
    def be_late(self, cut: int | None) -> None:
        """Which nothing is that has been good once, or is all that there is."""

        async def do() -> None:
            self.clock.advance(DEADLINE + 1)
            self.device.bundles.wake("app")

        Fleet.back += self.model.late() != self.model
        self._step(do, self.model.late(), cut)

    @stateful.precondition(lambda self: self.model.wanted is not None and not self.model.held)
    @stateful.rule(cut=CUTS)
    def delete(self, cut: int | None) -> None:
        async def do() -> None:
            await self.device.store.delete("bundles.edgeorch.io", "", "app", {})

        self._step(do, self.model.deleted(), cut)

    @stateful.precondition(lambda self: self.model.there and self.model.shown.keys() - {"never"})
    @stateful.rule(data=st.data(), cut=CUTS)
    def delete_by_hand(self, data: st.DataObject, cut: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.shown.keys() - {"never"})))

        async def do() -> None:
            await self.device.store.delete("configmaps", "default", name)
            self._pass_time()

        gone, changed = self.model.gone | {name}, self.model.changed - {name}
        self._step(do, replace(self.model, gone=gone, changed=changed).rested(), cut)

    @stateful.precondition(lambda self: self.model.there and self.model.shown.keys() - {"never"})
    @stateful.rule(data=st.data(), cut=CUTS)
    def change_by_hand(self, data: st.DataObject, cut: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.shown.keys() - {"never"})))

        def change(current: dict[str, Any]) -> dict[str, Any]:
            return {**current, "data": {"version": BY_HAND}}

        async def do() -> None:
            await self.device.store.update("configmaps", "default", name, change)

        self._step(do, replace(self.model, changed=self.model.changed | {name}), cut)

    @stateful.precondition(lambda self: not self.model.held)
    @stateful.rule()
    def hold(self) -> None:
        async def do() -> None:
            self.device.hold.set("the robot moves")

        self._step(do, replace(self.model, held=True), None)

    @stateful.precondition(lambda self: self.model.held)
    @stateful.rule(cut=CUTS)
    def let_go(self, cut: int | None) -> None:
        async def do() -> None:
            self.device.hold.set("")
            self._pass_time()

        self._step(do, replace(self.model, held=False).rested(), cut)

    @stateful.precondition(lambda self: self.model.there is not None)
    @stateful.rule()
    def lose_power(self) -> None:
        async def do() -> None:
            return

        self._step(do, self.model, 1)

    # --- doing it -------------------------------------------------------------------------------

    def _pass_time(self) -> None:
        """So much that nothing has to wait before it is made again."""
        self.clock.advance(bundle_plan.RESTORE.cap)
        self.device.bundles.wake("app")

    def _step(self, do: Callable[[], Awaitable[None]], after: Model, cut: int | None) -> None:
        if cut is None:
            self._wait(self._done(do, after))
            self.model = after
        else:
            self._wait(self._cut_short(do, after, cut))

    async def _done(self, do: Callable[[], Awaitable[None]], after: Model) -> None:
        await do()
        await self.device.settle(after)

    async def _cut_short(self, do: Callable[[], Awaitable[None]], after: Model, cut: int) -> None:
        """The power goes at a write; what the device comes up with is what it had, or was told."""
        folder, writes, answered = self._folder(), 0, True
        doing = asyncio.ensure_future(do())

        def written() -> None:
            nonlocal writes, answered
            writes += 1
            if writes == cut:
                answered = doing.done()
                shutil.copytree(self.device.folder, folder)

        self.device.db.on_commit = written
        await doing
        await self.device.settle(after)
        Fleet.cuts += 1
        Fleet.midway += folder.exists()
        if not folder.exists():
            async with self.device.db._turn:
                shutil.copytree(self.device.folder, folder)
        former = self.device.folder
        await self._stop()
        shutil.rmtree(former)
        found = self._judged(await _files(folder), after)
        if answered:
            assert (found.wanted, found.held) == (after.wanted, after.held), "acknowledged and lost"
        self.model = found.begun()
        self.device = self._device(folder)
        await self._start()
        self._pass_time()
        await self.device.settle(self.model)

    def _judged(self, files: dict[str, Any], after: Model) -> Model:
        """What the files say, as far as one of what was before and what was to come has it so."""
        before, status = self.model, files.get("status") or {}
        if "metadata" not in files or files["metadata"].get("deletionTimestamp"):
            assert None in (before.wanted, after.wanted)
            return after.deleted()

        def known(digest: str) -> Version | None:
            return self.known[digest] if digest else None

        refused = (self.known[each["version"]] for each in status.get("refusedVersions") or ())
        found = Model(
            known(files["spec"].get("version", "")),
            known(status.get("version", "")),
            known(status.get("lastGoodVersion", "")),
            tuple(refused),
            status.get("starts", 0),
            after.held,
        )
        for name in ("wanted", "there", "good"):
            options = getattr(before, name), getattr(after, name)
            assert getattr(found, name) in options, (name, files, before, after)
        assert set(found.refused) <= {*before.refused, *after.refused}
        expected = set(found.there.names) if found.there and found.held else set()
        gone = frozenset(expected - files["texts"].keys())
        changed = (name for name, text in files["texts"].items() if text == BY_HAND)
        return replace(found, gone=gone, changed=frozenset(changed))

    def _folder(self) -> Path:
        self.folders += 1
        return self.home / str(self.folders)

    def _device(self, folder: Path) -> Device:
        return Device(folder, self.clock, self.model.held)

    async def _start(self) -> None:
        started, self._ending = asyncio.Event(), asyncio.Event()

        async def life() -> None:
            async with self.device.running():
                started.set()
                await self._ending.wait()

        self._life = asyncio.ensure_future(life())
        starting = asyncio.ensure_future(started.wait())
        await asyncio.wait((self._life, starting), return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    async def _stop(self) -> None:
        self._ending.set()
        await self._life

    def _wait(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)


@pytest.mark.timeout(rounds(180, 1800))
def test_the_device_equals_an_acknowledged_version() -> None:
    settings = hypothesis.settings(
        max_examples=rounds(10, 100),
        stateful_step_count=rounds(20, 50),
        phases=(hypothesis.Phase.generate,),  # what fails takes seconds to do so: no shrinking
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    stateful.run_state_machine_as_test(Fleet, settings=settings)
    print(f"{Fleet.pushes} bundles, {Fleet.back} taken back, {Fleet.cuts} cuts, "
          f"{Fleet.midway} of them in the midst of something")  # fmt: skip
    assert Fleet.pushes >= rounds(20, 1000)
    assert Fleet.midway
