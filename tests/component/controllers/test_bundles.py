"""Bundles among the other controllers, on a real store; the clock of deadlines is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edgeorch.agent.volumes import folders
from edgeorch.controllers import account_admission, assembly, world
from edgeorch.controllers import bundles as controller
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import bundles, errors, kinds, schema
from edgeorch.proxy import allocation
from edgeorch.store import database, objects, recorder

Object = dict[str, Any]
TABLE = schema.load()
REGISTRY = kinds.Registry()
DEADLINE = 60


class Hold:
    """Held while there is a reason."""

    def __init__(self) -> None:
        self.why = ""
        self.news = asyncio.Event()

    def reason(self) -> str:
        return self.why

    async def changed(self) -> None:
        await self.news.wait()
        self.news.clear()


class Device:
    def __init__(self, store: objects.Objects, db: database.Database, shared: world.World) -> None:
        self.store = store
        self.db = db
        self.hold = Hold()
        self.bundles = controller.Bundles(shared, TABLE, hold=self.hold)

    async def push(self, *found: Object, **asked: Any) -> bundles.Outcome:
        manifests = json.dumps(found).encode()
        items, causes = bundles.parse(manifests, TABLE, REGISTRY)
        assert not causes
        wanted = bundles.Push("app", manifests, items, **{"deadline": DEADLINE, **asked})
        return await self.bundles.push(wanted, lambda _: None)

    def status(self) -> Object:
        stored = self.store.find("bundles.edgeorch.io", "", "app")
        return stored.decode().get("status") or {} if stored is not None else {}

    def names(self, resource: str) -> set[str]:
        return {stored.name for stored in self.store.list(resource).items}

    def versions(self) -> list[int]:
        """Of everything that a push of ConfigMaps might write."""
        found = (kinds.BUNDLE.resource, kinds.BUNDLE_REVISION.resource)
        lists = [self.store.list(each).items for each in found]
        lists.append(self.store.list("configmaps", "default").items)
        return [stored.version for items in lists for stored in items]

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(10):
                while not holds():
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"not {what}: {self.status()}") from None

    async def settled(self, phase: str) -> None:
        """In that phase, and with nothing under way or left to do."""

        def holds() -> bool:
            life = self.bundles._lives.get("app")
            is_through = life is not None and (life.tidied or phase == "Progressing")
            is_idle = not self.bundles._changing.locked()
            return self.status().get("phase") == phase and is_through and is_idle

        await self.until(holds, phase)


@pytest.fixture
def clock() -> clocks.ManualClock:
    return clocks.ManualClock()


@pytest.fixture
async def device(tmp_path: pathlib.Path, clock: clocks.ManualClock) -> AsyncIterator[Device]:
    async with running(tmp_path, clock) as found:
        yield found


@contextlib.asynccontextmanager
async def running(folder: pathlib.Path, clock: clocks.ManualClock) -> AsyncIterator[Device]:
    db = database.Database(folder / "state.db")
    await db.open()
    store = objects.Objects(db, REGISTRY, clock)
    await store.load()
    events = recorder.Log(store, clock, "edge")
    shared = world.World(store, events, clock, "edge")
    found = assembly.all_controllers(
        store,
        events,
        clock,
        node_name="edge",
        ca_certificate="a certificate",
        folders=folders.VolumeFolders(folder / "storage"),
        shared=shared,
    )
    device = Device(store, db, shared)
    writer = asyncio.ensure_future(db.run())
    try:
        loops = {each.name: each.run for each in found}
        async with tasks.running({**loops, "bundles": device.bundles.run}):
            await device.until(lambda: store.find("namespaces", "", "default"), "a namespace")
            yield device
    finally:
        await tasks.cancel_and_wait(writer)
        await db.close()


def config(name: str, namespace: str = "default", **more: Any) -> Object:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **more}


def claim(name: str, namespace: str = "default") -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def never() -> Object:
    """There is no node to put its pod on."""
    labels = {"app": "never"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "never"},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }


def job(**spec: Any) -> Object:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate"},
        "spec": {"template": pod, **spec},
    }


async def test_data_stays_until_nothing_leads_back_to_it(
    device: Device, clock: clocks.ManualClock
) -> None:
    await device.push(config("a"), claim("data"), namespace("shop"), claim("till", "shop"))
    await device.settled("Ready")
    uid = device.store.get("persistentvolumeclaims", "default", "data").decode()["metadata"]["uid"]
    tried = await device.push(config("b"), never(), dry_run=True)
    outcome = await device.push(config("b"), never())
    spared = [
        "PersistentVolumeClaim default/data",
        "PersistentVolumeClaim shop/till",
        "Namespace shop",
    ]
    assert tried.changes.leaving == outcome.changes.leaving == spared
    assert outcome.changes.pruned == ["ConfigMap default/a"]

    clock.advance(DEADLINE + 1)
    device.bundles.wake("app")
    await device.settled("RolledBack")
    kept = device.store.get("persistentvolumeclaims", "default", "data").decode()["metadata"]
    assert (kept["uid"], kept.get("deletionTimestamp")) == (uid, None)

    await device.push(config("c"))
    await device.settled("Ready")
    await device.until(lambda: not device.names("persistentvolumeclaims"), "without claims")
    await device.until(lambda: "shop" not in device.names("namespaces"), "without a namespace")


async def test_data_of_a_good_version_goes_after_a_cut(
    tmp_path: pathlib.Path, clock: clocks.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the word that the version is good and what follows from it."""

    async def cut(*_: object) -> None:
        await asyncio.Event().wait()

    async with running(tmp_path, clock) as device:
        await device.push(config("a"), claim("data"))
        await device.settled("Ready")
        with monkeypatch.context() as patched:
            patched.setattr(device.bundles, "_tidy", cut)
            second = await device.push(config("b"))
            await device.until(
                lambda: device.status().get("lastGoodVersion") == second.version, "believed"
            )
            assert device.names("persistentvolumeclaims") == {"data"}
    async with running(tmp_path, clock) as device:
        await device.until(lambda: not device.names("persistentvolumeclaims"), "without a claim")
        assert "b" in device.names("configmaps")


async def test_orphaning_leaves_everything(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the bundle's own controller looks: the garbage collector goes second."""
    await device.push(config("a"), config("b"))
    await device.settled("Ready")
    with monkeypatch.context() as patched:
        patched.setattr(device.bundles, "_told", lambda *_: None)
        options = {"propagationPolicy": "Orphan"}
        await device.store.delete("bundles.edgeorch.io", "", "app", options)
        # Whatever comes later in its queue: this one has then been looked at.
        await device.store.create("configmaps", config("later"))
        await device.store.delete("configmaps", "default", "later", options)
        await device.until(lambda: "later" not in device.names("configmaps"), "collected")
    device.bundles.wake("app")
    await device.until(lambda: not device.names("bundles.edgeorch.io"), "gone")
    assert {"a", "b"} <= device.names("configmaps")
    labels = device.store.get("configmaps", "default", "a").decode()["metadata"].get("labels")
    assert not labels
    assert not device.names("bundlerevisions.edgeorch.io")


async def test_namespaces_that_never_go_hold_nothing_up(device: Device) -> None:
    await device.until(lambda: "kube-public" in device.names("namespaces"), "all there")
    await device.push(namespace("kube-public"), config("a", "kube-public"))
    await device.settled("Ready")
    await device.store.delete("bundles.edgeorch.io", "", "app", {})
    await device.until(lambda: not device.names("bundles.edgeorch.io"), "gone")
    assert "kube-public" in device.names("namespaces")
    assert "a" not in device.names("configmaps")


async def test_what_is_frozen_goes_back_too(device: Device, clock: clocks.ManualClock) -> None:
    await device.push(config("a", data={"v": "1"}))
    await device.settled("Ready")
    await device.push(config("a", data={"v": "2"}, immutable=True), never())
    clock.advance(DEADLINE + 1)
    device.bundles.wake("app")
    await device.settled("RolledBack")
    found = device.store.get("configmaps", "default", "a").decode()
    assert (found["data"], found.get("immutable")) == ({"v": "1"}, None)


async def test_a_job_that_went_when_it_was_done_is_not_missed(
    device: Device, clock: clocks.ManualClock
) -> None:
    await device.push(job(ttlSecondsAfterFinished=0))
    await device.settled("Progressing")

    def complete(obj: Object) -> Object:
        done = [{"type": each, "status": "True"} for each in ("SuccessCriteriaMet", "Complete")]
        return {**obj, "status": {**obj["status"], "conditions": done}}

    await device.store.update_status("jobs.batch", "default", "migrate", complete)
    await device.until(lambda: not device.names("jobs.batch"), "gone")
    await device.until(lambda: device.status().get("objects", {}).get("ready"), "done")
    clock.advance(DEADLINE - 1)
    device.bundles.wake("app")
    await device.settled("Ready")


async def test_a_big_bundle_costs_few_transactions(device: Device) -> None:
    commits = 0

    def count() -> None:
        nonlocal commits
        commits += 1

    device.db.on_commit = count
    names = [f"c{number:03}" for number in range(200)]
    outcome = await device.push(*(config(name) for name in names))
    assert outcome.changes.created == [f"ConfigMap default/{name}" for name in names]
    assert commits < 20
    await device.settled("Ready")
    before = device.versions()
    again = await device.push(*(config(name) for name in names))
    assert len(again.changes.unchanged) == 200
    assert device.versions() == before


async def test_what_was_never_applied_is_not_kept(device: Device) -> None:
    await device.push(config("a"))
    await device.settled("Ready")
    device.hold.why = "the robot moves"
    for number in range(5):
        outcome = await device.push(config("b", data={"v": str(number)}))
        assert outcome.held
    assert len(device.names("bundlerevisions.edgeorch.io")) == 2
    device.hold.why = ""
    device.hold.news.set()
    await device.settled("Ready")
    assert device.store.get("configmaps", "default", "b").decode()["data"] == {"v": "4"}


async def test_what_is_deleted_by_hand_comes_back(
    device: Device, clock: clocks.ManualClock
) -> None:
    """That, and nothing else: what somebody has changed meanwhile is left to him."""
    store = device.store
    told: list[tuple[str, str]] = []
    await device.push(config("a", data={"v": "1"}), config("b", data={"v": "1"}))
    await device.settled("Ready")

    def by_hand(obj: Object) -> Object:
        return {**obj, "data": {"v": "2"}}

    async def note() -> None:
        async with store.watch("bundles.edgeorch.io") as changes:
            async for batch in changes:
                for event in batch:
                    status = event.stored.decode()["status"]
                    told.append((status["phase"], status.get("message", "")))

    clock.advance(1)  # events of one moment have one name
    noting = asyncio.ensure_future(note())
    await store.update("configmaps", "default", "b", by_hand)
    await store.delete("configmaps", "default", "a")
    await device.until(lambda: "a" in device.names("configmaps"), "back")
    await device.settled("Ready")
    await tasks.cancel_and_wait(noting)
    assert told[0] == ("Degraded", "ConfigMap default/a: is not there")
    assert store.get("configmaps", "default", "a").decode()["data"] == {"v": "1"}
    assert store.get("configmaps", "default", "b").decode()["data"] == {"v": "2"}
    (event,) = (
        each
        for each in (stored.decode() for stored in store.list("events").items)
        if each["reason"] == "Restored"
    )
    assert event["message"] == "Made again, since somebody has deleted it: ConfigMap default/a"

    # Who goes on deleting it is not fought as fast as the device can.
    await store.delete("configmaps", "default", "a")
    await device.until(lambda: device.status()["phase"] == "Degraded", "noticed")
    device.bundles.wake("app")
    assert "a" not in device.names("configmaps")
    clock.advance(10)
    device.bundles.wake("app")
    await device.until(lambda: "a" in device.names("configmaps"), "back again")


async def test_a_hold_leaves_what_is_deleted_gone(device: Device) -> None:
    await device.push(config("a"))
    await device.settled("Ready")
    device.hold.why = "somebody tries something"
    await device.store.delete("configmaps", "default", "a")
    await device.until(lambda: "somebody tries" in device.status().get("message", ""), "held")
    assert device.status()["phase"] == "Degraded"
    assert "a" not in device.names("configmaps")
    device.hold.why = ""
    device.hold.news.set()
    await device.until(lambda: "a" in device.names("configmaps"), "back")
    await device.settled("Ready")


async def test_a_hold_is_for_what_was_changed_by_hand_too(device: Device) -> None:
    """Pushed again, the same version would undo it."""
    store = device.store

    def by_hand(obj: Object) -> Object:
        return {**obj, "data": {"v": "2"}}

    await device.push(config("a", data={"v": "1"}))
    await device.settled("Ready")
    device.hold.why = "somebody tries something"
    again = await device.push(config("a", data={"v": "1"}))
    assert (again.held, again.changes.unchanged) == ("", ["ConfigMap default/a"])
    await store.update("configmaps", "default", "a", by_hand)
    again = await device.push(config("a", data={"v": "1"}))
    assert (again.held, again.phase) == (device.hold.why, "Ready")
    held = [{"type": "Held", "status": "True"}]

    def told() -> bool:
        conditions = device.status()["conditions"]
        return held == [
            {name: each[name] for name in ("type", "status")}
            for each in conditions
            if each["type"] == "Held"
        ]

    await device.until(told, "held")
    assert store.get("configmaps", "default", "a").decode()["data"] == {"v": "2"}
    device.hold.why = ""
    device.hold.news.set()
    await device.until(
        lambda: store.get("configmaps", "default", "a").decode()["data"] == {"v": "1"}, "undone"
    )
    await device.settled("Ready")


async def test_a_namespace_comes_back_with_all_that_the_bundle_has_in_it(
    device: Device, clock: clocks.ManualClock
) -> None:
    store = device.store
    await device.push(namespace("shop"), config("a", "shop"), config("b"))
    await device.settled("Ready")
    uid = store.get("namespaces", "", "shop").decode()["metadata"]["uid"]
    await store.delete("namespaces", "", "shop")

    def is_back() -> bool:
        found = store.find("namespaces", "", "shop")
        is_new = found is not None and found.decode()["metadata"]["uid"] != uid
        return is_new and store.find("configmaps", "shop", "a") is not None

    await device.until(is_back, "back")
    await device.settled("Ready")
    # A namespace of somebody else's is missed; why nothing can be done about it is told.
    await store.create("namespaces", namespace("theirs"))
    await device.push(config("a", "theirs"))
    await device.settled("Ready")
    await store.delete("namespaces", "", "theirs")
    await device.until(
        lambda: 'namespaces "theirs" not found' in device.status().get("message", ""), "told"
    )
    assert device.status()["phase"] == "Degraded"
    await store.create("namespaces", namespace("theirs"))
    clock.advance(10)
    device.bundles.wake("app")
    await device.settled("Ready")


def service(name: str, **port: int) -> Object:
    spec = {"type": "NodePort", "ports": [{"port": 80, **port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def node_ports(device: Device) -> dict[str, int]:
    """Of each Service."""
    return {
        stored.name: stored.decode()["spec"]["ports"][0]["nodePort"]
        for stored in device.store.list("services").items
    }


@pytest.fixture
def allocating(device: Device) -> Device:
    services = allocation.ServiceAllocator("10.9.0.0/24", (30000, 30002), lambda _: 0)
    device.store.allocate_with("services", services)
    return device


async def test_a_service_that_is_renamed_keeps_its_port(
    allocating: Device, clock: clocks.ManualClock
) -> None:
    """And gets it back."""
    device = allocating
    await device.push(service("a", nodePort=30000))
    await device.settled("Ready")
    for dry_run in (True, False):
        found = await device.push(service("b", nodePort=30000), dry_run=dry_run)
        assert (found.changes.created, found.changes.pruned) == (
            ["Service default/b"],
            ["Service default/a"],
        )
    assert node_ports(device) == {"b": 30000}
    await device.settled("Ready")
    await device.push(service("c", nodePort=30000), never())
    assert node_ports(device) == {"c": 30000}
    clock.advance(DEADLINE + 1)
    device.bundles.wake("app")
    await device.settled("RolledBack")
    assert node_ports(device) == {"b": 30000}
    # What is somebody else's stays so.
    theirs = service("theirs", nodePort=30001)
    theirs["metadata"]["namespace"] = "default"
    await device.store.create("services", theirs)
    with pytest.raises(errors.StatusError, match="provided port is already allocated"):
        await device.push(service("d", nodePort=30001))


async def test_what_two_of_one_bundle_want_is_told_before_anything_is_done(
    allocating: Device,
) -> None:
    """Each of them alone could have it; and what one of them brings the other may use."""
    device, store = allocating, allocating.store
    store.admit_with("pods", account_admission.AccountAdmission(store))
    with pytest.raises(errors.StatusError) as refused:
        await device.push(service("a", nodePort=30000), service("b", nodePort=30000))
    (cause,) = refused.value.details["causes"]
    assert cause["field"] == "document 2 (Service default/b) spec.ports[0].nodePort"
    assert "document 1 (Service default/a)" in cause["message"]
    assert not device.names("services")

    meta = {"name": "robot"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    spec = {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    # Whatever is free is given out last: here it would be the port that the other asks for.
    outcome = await device.push(pod, account, service("a"), service("b", nodePort=30000))
    assert not outcome.changes.failed
    assert node_ports(device) == {"a": 30001, "b": 30000}
    assert "robot" in device.names("pods")


async def test_an_older_version_is_not_taken_any_more(
    tmp_path: pathlib.Path, clock: clocks.ManualClock
) -> None:
    """After a cut and a new beginning neither; a dry run is no promise."""

    async def refused(device: Device, **asked: Any) -> None:
        with pytest.raises(errors.StatusError, match="was taken before"):
            await device.push(config("a"), force=True, **asked)

    async with running(tmp_path, clock) as device:
        await device.until(lambda: "kube-system" in device.names("namespaces"), "all there")
        await device.push(config("a"))
        await device.push(config("b"), sequence=9, dry_run=True)
        await device.push(config("b"), sequence=7)
        await device.settled("Ready")
        await refused(device)
        await refused(device, sequence=6)
    async with running(tmp_path, clock) as device:
        await refused(device, sequence=6)
        await device.store.delete("bundles.edgeorch.io", "", "app", {})
        await device.until(lambda: not device.names("bundles.edgeorch.io"), "gone")
        await refused(device, sequence=6, dry_run=True)
        await device.push(config("b"), sequence=7)
        await device.push(config("c"), sequence=8)
        await refused(device, sequence=7)
        # Whoever administers the device has the last word.
        await device.store.delete(*bundles.SEQUENCES)
        await device.push(config("a"), sequence=1)


async def test_a_wrong_deadline_is_told_with_all_else(device: Device) -> None:
    for dry_run in (False, True):
        with pytest.raises(errors.StatusError) as refused:
            await device.push(config("a", "nowhere"), deadline=-1, dry_run=dry_run)
        fields = [cause["field"] for cause in refused.value.details["causes"]]
        assert "spec.deadlineSeconds" in fields
        assert len(fields) == 2
    assert not device.names("bundlerevisions.edgeorch.io")
