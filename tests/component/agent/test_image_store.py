"""The preload folder, and room for images, on a device with a real containerd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib

import pytest
from msgspec import structs

from edgeorch.agent.settings import ImageSettings
from edgeorch.core import image_gc
from edgeorch.registry import pull
from edgeorch.runtime import content, leases, pulling
from edgeorch.runtime.pb import snapshots_pb2
from tests.component.agent.conftest import Lab
from tests.component.runtime import archives

ALWAYS_FULL = ImageSettings(gc_high_percent=1, gc_low_percent=0, gc_min_age=0)


@pytest.fixture
async def device(lab: Lab, tmp_path: pathlib.Path) -> Lab:
    """With a preload folder, and a medium that always counts as too full."""
    await lab.stop()
    images = structs.replace(ALWAYS_FULL, preload_dir=tmp_path / "images")
    lab.settings = structs.replace(lab.settings, images=images)
    (tmp_path / "images").mkdir()
    return lab


def _node_events(lab: Lab) -> list[tuple[str, str]]:
    return lab.events("edge")


async def _names(lab: Lab) -> set[str]:
    return {image.name for image in await lab.images.list()}


async def test_archives_are_imported_before_anything_is_pulled_and_when_they_come(
    device: Lab, tmp_path: pathlib.Path
) -> None:
    lab, folder = device, tmp_path / "images"
    archives.oci(folder / "first.tar", "preloaded/first:1", mark="first")
    (folder / "broken.tar").write_bytes(b"no archive at all")
    half = (folder / "half.tar").open("wb")
    half.write(b"still being copied")
    half.flush()
    await lab.start()
    await lab.run("waits", container={"image": "preloaded/first:1"})
    await lab.running("waits")
    assert ("Pulling", 'Pulling image "preloaded/first:1"') not in lab.events("waits")
    told = dict(_node_events(lab))
    assert told["ImageArchiveFailed"].startswith(f"Cannot import {folder}/broken.tar: ")
    assert "first:1 from" in told["ImageArchiveImported"]

    # One that appears later wakes the pod that could not have it.
    await lab.run("later", container={"image": "preloaded/second:1"})
    await lab.until(lambda: lab.waiting("later", "ImagePullBackOff"))
    made = archives.oci(tmp_path / "second.tar", "preloaded/second:1", mark="second")
    os.rename(made, folder / "second.tar")
    await lab.running("later")

    # A file that somebody writes is left alone until he has done.
    assert not any("half.tar" in message for _, message in _node_events(lab))
    half.seek(0)
    half.write(archives.oci(tmp_path / "whole", "preloaded/half:1", mark="half").read_bytes())
    half.close()
    await lab.until(lambda: any("half:1 from" in text for _, text in _node_events(lab)))
    count = len([1 for reason, _ in _node_events(lab) if reason == "ImageArchiveImported"])

    # What it knows outlives the process: nothing is imported again, but what was removed.
    await lab.images.remove("docker.io/preloaded/second:1")
    await lab.stop()
    await lab.start()
    await lab.until(
        lambda: [m for r, m in _node_events(lab) if r == "ImageArchiveImported" and "second" in m]
    )
    assert count == 3
    assert len([1 for reason, _ in _node_events(lab) if reason == "ImageArchiveImported"]) == 1


@pytest.mark.ask(14)
async def test_only_what_nobody_wants_makes_room(device: Lab, tmp_path: pathlib.Path) -> None:
    lab, folder = device, tmp_path / "images"
    archives.oci(folder / "kept.tar", "kept/preloaded:1", mark="kept")
    await lab.start()
    # It looks once when it starts, and finds too little.
    await lab.until(lambda: "FreeDiskSpaceFailed" in dict(_node_events(lab)))
    given = [
        "unwanted/a:1",
        "kept/pinned:1",
        "kept/revision:1",
        "kept/cron:1",
        "kept/used:1",
        "unwanted/b:1",
    ]
    # It looks again by itself, so what is wanted is known before it is there.
    await lab.objects.create("controllerrevisions.apps", _revision("kept/revision:1"))
    await lab.objects.create("cronjobs.batch", _cron_job("kept/cron:1"))
    await lab.run("uses", container={"image": "kept/used:1", "imagePullPolicy": "Never"})
    chains = {}
    for number, name in enumerate(given):
        made = archives.oci(tmp_path / f"{number}.tar", name, mark=name)
        await lab.images.import_archive(made)
        if "pinned" in name:
            await lab.images.label(f"docker.io/{name}", {image_gc.PIN_LABEL: "pinned"})
        chains[name] = (await lab.images.config(f"docker.io/{name}")).chain_id
    await lab.running("uses")
    lab.agent.collector.look()

    async def gone() -> set[str]:
        return {name for name in await _names(lab) if "unwanted" in name}

    async with asyncio.timeout(60):
        while await gone():
            await asyncio.sleep(0.01)
    await lab.until(lambda: "ImageGCFailed" in dict(_node_events(lab)))
    names = await _names(lab)
    assert {f"docker.io/{name}" for name in given if name.startswith("kept")} <= names
    assert "docker.io/kept/preloaded:1" in names
    # Their layers are really gone, those of the others are not.
    assert chains["unwanted/a:1"] not in (left := await _snapshots(lab))
    assert {chains["kept/cron:1"], chains["kept/pinned:1"]} <= left


async def _snapshots(lab: Lab) -> set[str]:
    found: set[str] = set()
    async with lab.client.stream(lab.client.services.snapshots.List) as stream:
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter="overlayfs")
        await stream.send_message(request, end=True)
        async for part in stream:
            found |= {info.name for info in part.info}
    return found


async def test_half_a_download_goes_with_the_pod_that_wanted_it(device: Lab) -> None:
    lab = device
    await lab.start()
    # What it does when it starts is over, and the one that is wanted is known.
    await lab.until(lambda: "FreeDiskSpaceFailed" in dict(_node_events(lab)))
    container = {"image": "r.example/somebody:1", "imagePullPolicy": "Never"}
    await lab.run("somebody", container=container)
    held = leases.Leases(lab.client)
    for wanted in ("r.example/nobody:1", "r.example/somebody:1"):
        with contextlib.suppress(pull.PullError):
            async with pulling.PullSinks(lab.client).hold(wanted) as sink:
                digest = archives.sha256(wanted.encode())
                ingest = await sink.open(f"pull-{digest}", 100, digest)
                await ingest.write(b"half")
                await ingest.close()
                raise pull.PullError("the line broke")
    lab.agent.collector.look()
    async with asyncio.timeout(60):
        while len(left := await held.list()) != 1:
            await asyncio.sleep(0.01)
    assert left[0].labels[leases.ABOUT] == "r.example/somebody:1"
    store = content.Content(lab.client)
    digest = archives.sha256(b"r.example/nobody:1")
    assert await store.status(f"pull-{digest}") is None
    assert await store.status(f"pull-{archives.sha256(b'r.example/somebody:1')}") == 4
    await held.remove(left[0].id, sync=True)


def _template(image: str) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "main", "image": image}], "restartPolicy": "Never"}}


def _revision(image: str) -> dict[str, object]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "old", "namespace": "default"},
        "data": {"spec": {"template": _template(image)}},
        "revision": 1,
    }


def _cron_job(image: str) -> dict[str, object]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "yearly", "namespace": "default"},
        "spec": {
            "schedule": "0 0 1 1 *",
            "suspend": True,
            "jobTemplate": {"spec": {"template": _template(image)}},
        },
    }
