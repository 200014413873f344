"""The Node object of this device: what it has, how it is, where it is reached.

Written at start and when something changes, never periodically: an idle device writes nothing.
How big the disk is is looked at every few minutes in memory only. The only writer of the node's
status, and of the labels that say what the machine is.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import edgeorch
from edgeorch.agent import pressure
from edgeorch.core import node_resources
from edgeorch.lib import clock as clocks
from edgeorch.lib import conditions
from edgeorch.model import errors, kinds, release
from edgeorch.runtime import errors as runtime_errors
from edgeorch.store import watch
from edgeorch.wire import image_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeorch.agent import machine, ports
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.settings import Settings
    from edgeorch.lib import metrics
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

LOOK_AGAIN = 300.0
"""Seconds between looks at the disk."""
_SETTLE = 0.2
_MAX_IMAGES = 50


class NodeKeeper:
    def __init__(
        self,
        objects: Objects,
        network: ports.Network,
        images: ports.Images,
        observer: Observer,
        clock: clocks.Clock,
        settings: Settings,
        facts: machine.Facts,
        devices: Callable[[], dict[str, str]] = dict,
        board: conditions.Board | None = None,
        pressures: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`devices`: how many there are of each, by resource. `board`: what else is told of it.
        `pressures`: the conditions of that kind that hold."""
        self._objects = objects
        self._network = network
        self._images = images
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._facts = facts
        self._devices = devices
        self._board = board or conditions.Board()
        self._pressures = pressures
        self._wake = asyncio.Event()
        self._runtime_version = ""
        self._held = (0, 0)
        """Images, and their bytes, when containerd was asked last."""
        network.on_addresses(lambda _: self.look())
        network.on_health(self.look)
        self._board.listen(lambda _, __: self.look())

    def look(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def measure(self, registry: metrics.Registry) -> None:
        registry.one("edgeorch_images", "Images on the device.", lambda: self._held[0])
        registry.one("edgeorch_images_bytes", "Their size in bytes.", lambda: self._held[1])

    async def run(self) -> None:
        await self._register()
        while True:
            self._wake.clear()
            await self._write()
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._wake.wait()
                    await asyncio.sleep(_SETTLE)
            except TimeoutError:
                pass

    async def guard(self) -> None:
        """For ever: a node that somebody deletes comes back at once, lest no pod finds a place."""
        while True:
            try:
                async with self._objects.watch(kinds.NODE.resource) as changes:
                    self.look()
                    async for batch in changes:
                        if any(self._is_own_end(event) for event in batch):
                            self.look()
            except watch.Expired:
                continue

    def _is_own_end(self, event: watch.Event) -> bool:
        return event.type == watch.DELETED and event.stored.name == self._settings.node_name

    async def _register(self) -> None:
        name = self._settings.node_name
        labels = self._labels()
        if self._objects.find(kinds.NODE.resource, "", name) is None:
            obj: Object = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": {},
            }
            try:
                await self._objects.create(kinds.NODE.resource, obj)
                return
            except errors.StatusError as error:
                if error.code != 409:
                    raise

        def change(obj: Object) -> Object:
            obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **labels}
            return obj

        await self._objects.update(kinds.NODE.resource, "", name, change)

    def _labels(self) -> dict[str, str]:
        return {
            "kubernetes.io/hostname": self._settings.node_name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": self._facts.architecture,
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": self._facts.architecture,
            "node-role.kubernetes.io/control-plane": "",
            **self._settings.node_labels,
        }

    async def _write(self) -> None:
        images = await self._image_list()
        usage = await asyncio.to_thread(_disk, str(self._settings.data_dir))
        now = clocks.rfc3339(self._clock.now())

        def change(obj: Object) -> Object:
            obj["status"] = self._status(obj.get("status") or {}, images, usage, now)
            return obj

        name = self._settings.node_name
        held = self._objects.find(kinds.NODE.resource, "", name)
        old = (held.decode().get("status") or {}) if held is not None else {}
        # Words may change every hour with what they tell of; they are no reason to write.
        fleeting = _wordless(old) == _wordless(self._status(old, images, usage, now))
        try:
            await self._objects.update_status(
                kinds.NODE.resource, "", name, change, fleeting=fleeting
            )
        except errors.StatusError as error:
            if error.code != 404:
                raise
            # Somebody deleted the node: a device cannot be without itself.
            await self._register()
            self.look()

    def _status(self, old: Object, images: list[Object], usage: _Disk, now: str) -> Object:
        capacity = self._capacity(usage)
        return {
            **old,
            "addresses": self._addresses(),
            "capacity": capacity,
            "allocatable": node_resources.allocatable(capacity, self._settings.reserved),
            "conditions": self._conditions(old.get("conditions") or [], usage, now),
            "features": {"supplementalGroupsPolicy": True},
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "images": images,
            "nodeInfo": {
                "architecture": self._facts.architecture,
                "bootID": self._facts.boot_id,
                "containerRuntimeVersion": f"containerd://{self._runtime_version or 'unknown'}",
                "kernelVersion": self._facts.kernel,
                "kubeProxyVersion": "",
                "kubeletVersion": release.git_version(edgeorch.__version__),
                "machineID": self._facts.machine_id,
                "operatingSystem": "linux",
                "osImage": self._facts.os_image,
                "systemUUID": self._facts.system_uuid,
            },
        }

    def set_runtime_version(self, version: str) -> None:
        self._runtime_version = version
        self.look()

    def _capacity(self, usage: _Disk) -> dict[str, str]:
        return {
            "cpu": str(self._facts.cpus),
            "memory": f"{self._facts.memory_bytes // 1024}Ki",
            "ephemeral-storage": f"{usage.total // 1024}Ki",
            "pods": str(self._settings.max_pods),
            **node_resources.huge_pages(self._facts.huge_pages),
            **self._devices(),
        }

    def _addresses(self) -> list[Object]:
        found = []
        internal = self._network.node_addresses.internal
        if internal:
            found.append({"type": "InternalIP", "address": internal})
        return [*found, {"type": "Hostname", "address": self._settings.node_name}]

    def _conditions(self, old: list[Object], usage: _Disk, now: str) -> list[Object]:
        before = {str(entry.get("type")): entry for entry in old}
        return [_condition(before, now, *judged) for judged in self._judged(usage)]

    def _judged(self, usage: _Disk) -> list[tuple[str, bool, str, str]]:
        """Type, whether it holds, reason, message."""
        found = [(held.type, held.wrong, held.reason, held.message) for held in self._board.all()]
        if blocked := self._network.blocked:
            found.append(("PodTrafficBlocked", True, "OtherPacketFilter", "; ".join(blocked)))
        found += pressure.judged(self._pressures())
        troubles = [text for text in (self._observer.health(), self._network.health()) if text]
        if troubles:
            found.append(("Ready", False, "KubeletNotReady", "; ".join(troubles)))
        else:
            found.append(("Ready", True, "KubeletReady", "edgeorch is posting ready status"))
        return found

    async def _image_list(self) -> list[Object]:
        try:
            found = await self._images.list()
        except runtime_errors.ContainerdError:
            return []
        names: dict[str, set[str]] = {}
        sizes: dict[str, int] = {}
        for image in found:
            names.setdefault(image.digest, set()).update(_image_names(image.name, image.digest))
            sizes[image.digest] = image.size
        self._held = (len(sizes), sum(sizes.values()))
        listed: list[Object] = [
            # By digest first, as the kubelet has them.
            {
                "names": sorted(names[digest], key=lambda name: ("@" not in name, name)),
                "sizeBytes": sizes[digest],
            }
            for digest in names
        ]
        listed.sort(key=lambda entry: (-entry["sizeBytes"], entry["names"]))
        return listed[:_MAX_IMAGES]


class _Disk:
    def __init__(self, found: os.statvfs_result) -> None:
        self.total = found.f_blocks * found.f_frsize


def _image_names(name: str, digest: str) -> set[str]:
    try:
        return {name, f"{image_ref.parse(name).name}@{digest}"}
    except image_ref.InvalidReference:
        return {name}


def _disk(path: str) -> _Disk:
    os.makedirs(path, mode=0o700, exist_ok=True)
    return _Disk(os.statvfs(path))


def _wordless(status: Object) -> Object:
    bare = [{**each, "message": ""} for each in status.get("conditions") or []]
    return {**status, "conditions": bare}


def _condition(
    before: dict[str, Object], now: str, kind: str, value: bool, reason: str, message: str
) -> Object:
    status = "True" if value else "False"
    entry = before.get(kind)
    if entry is not None and entry.get("status") == status and entry.get("reason") == reason:
        # An unchanged condition keeps its heartbeat too, or every look would be a write.
        return {**entry, "message": message}
    same = entry is not None and entry.get("status") == status
    moved = entry.get("lastTransitionTime", now) if entry is not None and same else now
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": moved,
    }
