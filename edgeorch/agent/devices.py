"""Who has which device: the inventory followed as it changes, and what each container was given.

A container that starts again gets the units it had. What was given stands in the labels of the
container, so that the next process knows it too, and so that one can tell when a device has come
back as another node than the container has. Nothing polls: folders are watched by inotify, and
without devices in the configuration nothing is watched at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgeorch.agent import device_nodes
from edgeorch.core import admission, devices, oci_spec
from edgeorch.core.observed import Held
from edgeorch.lib import inotify

if TYPE_CHECKING:
    from edgeorch.core.observed import Container
    from edgeorch.model import views

log = logging.getLogger(__name__)

_MASK = inotify.CREATE | inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED_TO
SETTLE = 0.2
"""Seconds that a burst of changes has to pass: udev renames and links what it has made."""

Given = Mapping[str, list[str]]
"""Ids of units by name."""
Owner = tuple[str, str]
"""Pod's uid and name of the container."""


class DeviceError(Exception):
    """A container cannot be given what it asks for; the text says which device is short."""


class Devices:
    def __init__(
        self,
        selectors: Mapping[str, devices.Selector],
        living: Callable[[], Mapping[str, views.Pod]],
    ) -> None:
        """`living`: by uid, the pods that hold what they were given."""
        self._selectors = selectors
        self._living = living
        self._inventory = device_nodes.find(selectors)
        self._given: dict[Owner, Given] = {}
        self.on_change: Callable[[], None] = lambda: None

    @property
    def capacity(self) -> dict[str, str]:
        return devices.capacity(self._selectors, self._inventory)

    async def run(self) -> None:
        """Follow what comes and goes, for ever."""
        if not self._selectors:
            await asyncio.Event().wait()
        watch = inotify.Directories()
        try:
            while True:
                watch.changed.clear()
                for folder in await asyncio.to_thread(device_nodes.watched, self._selectors):
                    with contextlib.suppress(OSError):  # gone meanwhile, and that is told
                        watch.add(folder, _MASK)
                await self._look()
                await watch.changed.wait()
                await asyncio.sleep(SETTLE)
        finally:
            watch.close()

    async def _look(self) -> None:
        found = await asyncio.to_thread(device_nodes.find, self._selectors)
        if found != self._inventory:
            before, self._inventory = self.capacity, found
            told = {name: n for name, n in self.capacity.items() if before[name] != n}
            log.info("Devices: %s", ", ".join(f"{name} {n}" for name, n in told.items()) or "moved")
            self.on_change()

    # --- giving ---------------------------------------------------------------------------------

    def adopt(self, owner: Owner, given: Given) -> None:
        """What an earlier process has given."""
        self._given.setdefault(owner, given)

    def give(self, pod: views.Pod, container: views.Container) -> dict[str, list[str]]:
        """Choose units for a container. Raises DeviceError."""
        self._forget()
        owner = (pod.metadata.uid, container.name)
        before = self._given.get(owner, {})
        chosen: dict[str, list[str]] = {}
        for name, number in devices.wanted(container).items():
            selector, units = self._selectors.get(name), self._inventory.get(name, [])
            count = selector.count if selector is not None else 1
            busy = self._busy(name, owner, pod)
            found = devices.choose(units, count, busy, number, before.get(name, []))
            if found is None:
                free = len(units) * count - sum(busy.values())
                raise DeviceError(
                    f"{admission.DEVICES}{name}: {number} asked for, {max(0, free)} of "
                    f"{len(units) * count} free"
                )
            chosen[name] = [unit.id for unit in found]
        if chosen:
            self._given[owner] = chosen
        return chosen

    def nodes(self, given: Given) -> list[oci_spec.Device]:
        """The device nodes of these units, as they are in the container. Raises DeviceError."""
        found = []
        for name, ids in given.items():
            selector = self._selectors[name]
            units = {unit.id: unit for unit in self._inventory.get(name, [])}
            gone = [id_ for id_ in ids if id_ not in units]
            if gone:
                raise DeviceError(f"{admission.DEVICES}{name}: {', '.join(gone)} is gone")
            here = [units[id_] for id_ in ids]
            for source, target in devices.places(selector, here):
                node = device_nodes.look(source, selector.permissions)
                if node is None:
                    raise DeviceError(f"{admission.DEVICES}{name}: {source} is gone")
                found.append(oci_spec.placed(node, target))
        return found

    def identity(self, given: Given) -> str | None:
        """Which nodes these units are now; None while one is gone, or where there are none."""
        return devices.identity(self._inventory, given) if given else None

    def moved(self, uid: str, containers: Iterable[Container]) -> frozenset[str]:
        """Those of the pod's containers whose devices are other nodes than they were given."""
        found = set()
        for each in containers:
            given = self._given.get((uid, each.name), {}) if each.device_nodes else {}
            if self.identity(given) not in (None, each.device_nodes):
                found.add(each.id)
        return frozenset(found)

    def held(self, pod: views.Pod) -> dict[str, tuple[Held, ...]]:
        """By container name, what the pod's containers have and whether it is there."""
        there = {(name, unit.id) for name, units in self._inventory.items() for unit in units}
        return {
            container: tuple(
                Held(f"{admission.DEVICES}{name}", id_, (name, id_) in there)
                for name, ids in given.items()
                for id_ in ids
            )
            for (uid, container), given in self._given.items()
            if uid == pod.metadata.uid
        }

    def _busy(self, name: str, owner: Owner, pod: views.Pod) -> dict[str, int]:
        """How many others use each unit. Init containers of the same pod have had their time."""
        inits = {c.name for c in pod.spec.init_containers if c.restart_policy != "Always"}
        busy: dict[str, int] = {}
        for (uid, container), given in self._given.items():
            own = uid == owner[0]
            if own and (container == owner[1] or container in inits or owner[1] in inits):
                continue
            for id_ in given.get(name, []):
                busy[id_] = busy.get(id_, 0) + 1
        return busy

    def _forget(self) -> None:
        living = self._living()
        self._given = {owner: given for owner, given in self._given.items() if owner[0] in living}


def of_host_paths(pod: views.Pod, container: views.Container) -> list[oci_spec.Device]:
    """Devices that volumes of type CharDevice and BlockDevice bring in: they may be opened too.

    The node itself comes as a mount.
    """
    sources = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in pod.spec.volumes
        if (volume.get("hostPath") or {}).get("type") in ("CharDevice", "BlockDevice")
    }
    found = []
    for mount in container.volume_mounts:
        if mount.name in sources:
            access = "r" if mount.read_only else "rw"
            node = device_nodes.look(sources[mount.name], access)
            if node is not None:
                found.append(oci_spec.placed(node, ""))
    return found
