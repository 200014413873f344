"""What the collector of images removes while things change under its hands."""

from __future__ import annotations

import asyncio
import pathlib
from types import SimpleNamespace
from typing import Any

import pytest

from edgeorch.agent import image_gc
from edgeorch.core import image_gc as deciding
from edgeorch.lib import clock
from edgeorch.runtime import images, leases, pulling


class Device:
    """Images and leases; with each removal a pod comes that names `next_pod`."""

    def __init__(self, names: list[str], next_pod: str) -> None:
        self.names, self.next_pod = names, next_pod
        self.pods: list[dict[str, Any]] = []

    def objects(self, resource: str) -> SimpleNamespace:
        pods = self.pods if resource == "pods" else []
        return SimpleNamespace(items=[SimpleNamespace(decode=lambda pod=pod: pod) for pod in pods])

    async def images(self) -> list[images.ImageInfo]:
        return [
            images.ImageInfo(name, f"sha256:{number}", 1, None)
            for number, name in enumerate(self.names)
        ]

    async def leases(self) -> list[leases.Lease]:
        return [
            leases.Lease(f"{pulling.LEASE_PREFIX}{name}", {leases.ABOUT: name}, None)
            for name in self.names
        ]

    async def root(self) -> str:
        return "/"

    async def remove(self, what: str, *, sync: bool = False) -> None:
        self.names.remove(what.removeprefix(pulling.LEASE_PREFIX))
        spec = {"containers": [{"name": "main", "image": self.next_pod}]}
        self.pods = [{"kind": "Pod", "spec": spec}]
        await asyncio.sleep(0)


def _collector(device: Device, *, leased: bool, tmp_path: pathlib.Path) -> image_gc.ImageCollector:
    async def nothing() -> list[Any]:
        return []

    held = device.leases if leased else nothing
    made: Any = image_gc.ImageCollector
    collector: image_gc.ImageCollector = made(
        SimpleNamespace(list=device.objects),
        SimpleNamespace(
            list=nothing if leased else device.images, remove=device.remove, root=device.root
        ),
        SimpleNamespace(list=held, remove=device.remove),
        SimpleNamespace(list=nothing),
        clock.SystemClock(),
        deciding.Thresholds(85, 80, 0),
        tmp_path / "use.json",
        lambda *_: None,
    )
    return collector


@pytest.mark.parametrize("leased", [False, True], ids=["images", "half a download"])
async def test_what_a_new_pod_names_is_spared(
    leased: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_gc, "_space", lambda _: (100, 0))
    first, second, third = (f"docker.io/library/{name}:1" for name in "abc")
    device = Device([first, second, third], next_pod=second)
    await _collector(device, leased=leased, tmp_path=tmp_path).collect()
    assert device.names == [second]


async def test_room_is_made_as_far_as_it_goes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what is to come, of which nothing goes that is here already."""
    names = [f"docker.io/library/{name}:1" for name in "abcd"]
    device = Device(list(names), next_pod="")
    monkeypatch.setattr(image_gc, "_space", lambda _: (100, 90 - 10 * len(device.names)))
    collector = _collector(device, leased=False, tmp_path=tmp_path)
    assert await collector.removable({names[0]}) == 6
    await collector.make_room(15, {names[0]})
    assert device.names == [names[0], names[3]]
    await collector.make_room(15, {names[0]})
    assert device.names == [names[0]]


async def test_for_want_of_room_all_go_that_nobody_wants(tmp_path: pathlib.Path) -> None:
    """However full the medium is; never one that is given by hand, or while one is being given."""
    names = [f"docker.io/library/{name}:1" for name in "abcd"]
    device = Device(list(names), next_pod=names[1])
    collector = _collector(device, leased=False, tmp_path=tmp_path)
    collector.given = lambda: {names[3]}
    collector.preloaded.clear()
    await collector.remove_unused()
    assert device.names == names
    collector.preloaded.set()
    await collector.remove_unused()
    assert device.names == [names[1], names[3]]
