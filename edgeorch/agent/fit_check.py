"""What a bundle would need of this device: looked up before anything of it is changed.

Sums and ports are `core.fit`; here is what it takes to know them, and the sizes of images that are
not on the device yet, which their registries are asked for. Without a network a size is not known:
that is told, and stands in nobody's way.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from edgeorch.agent import gauges, ports
from edgeorch.core import fit, image_names, image_room, pod_facts, pressure
from edgeorch.model import bundles, errors, kinds, views
from edgeorch.runtime import errors as runtime_errors
from edgeorch.wire import oci

if TYPE_CHECKING:
    import pathlib

    from edgeorch.model.bundles import Item
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

PATIENCE = 20.0
"""Seconds for all registries together."""
_AT_ONCE = 4
_OWNERS = {
    kind.kind: kind.resource
    for kind in (
        kinds.REPLICA_SET, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.JOB,
        kinds.CRON_JOB, kinds.REPLICATION_CONTROLLER,
    )
}  # fmt: skip
_LONGEST_CHAIN = 3


class Registry(Protocol):
    async def layers(self, ref: str, auths: list[bytes]) -> Sequence[oci.Descriptor]:
        """Of an image for this machine, without fetching any. Raises ports.PullError."""

    async def room(self, layers: Sequence[oci.Descriptor]) -> image_room.Room | None:
        """For those that are not here, None when it cannot be known."""


class Unused(Protocol):
    """Images that nobody needs."""

    async def removable(self, keep: Collection[str]) -> int:
        """How many bytes of them there are besides `keep`."""

    async def make_room(self, amount: int, keep: Collection[str]) -> None:
        """So many bytes, as far as it goes. Raises ContainerdError."""


class FitCheck:
    def __init__(
        self,
        objects: Objects,
        images: ports.Images,
        registry: Registry,
        unused: Unused,
        node_name: str,
        *,
        pressure_rules: pressure.Policy,
        data_dir: pathlib.Path,
        reserved_ports: Iterable[int] = (),
    ) -> None:
        self._objects = objects
        self._unused = unused
        self._pressure = pressure_rules
        self._data_dir = data_dir
        self._images = images
        self._registry = registry
        self._node_name = node_name
        self._reserved = tuple(reserved_ports)

    async def look(
        self, bundle: str, items: Sequence[Item], *, dry_run: bool
    ) -> tuple[list[errors.Cause], list[str]]:
        """Every reason against it, and what could not be found out. Images that nobody needs make
        room for those that are to come, unless it is a dry run."""
        node = self._objects.find(kinds.NODE.resource, "", self._node_name)
        wanted = fit.wanted(items)
        causes = []
        if node is not None:
            others = [pod.view(pod_facts.PodFacts) for pod in self._others(bundle)]
            causes = [
                errors.forbidden_field(each.place, f"does not fit: {each.told}")
                for each in fit.check(wanted, node.view(views.Node), others, self._reserved)
            ]
        found, told = await self._sizes(items, wanted, dry_run=dry_run or bool(causes))
        return causes + found, told

    def _others(self, bundle: str) -> list[Stored]:
        return [
            stored
            for stored in self._objects.list(kinds.POD.resource).items
            if not self._belongs(bundle, stored.decode())
        ]

    def _belongs(self, bundle: str, obj: Object | None) -> bool:
        """Whether the bundle holds it, or what made it."""
        for _ in range(_LONGEST_CHAIN):
            if obj is None:
                return False
            if bundle in bundles.managers_in(obj):
                return True
            meta = obj["metadata"]
            owner = next(
                (o for o in meta.get("ownerReferences") or () if o.get("controller")), None
            )
            if owner is None or owner["kind"] not in _OWNERS:
                return False
            found = self._objects.find(_OWNERS[owner["kind"]], meta["namespace"], owner["name"])
            obj = found.decode() if found is not None else None
        return False

    # --- images ---------------------------------------------------------------------------------

    async def _sizes(
        self, items: Sequence[Item], wanted: Sequence[fit.Wanted], *, dry_run: bool
    ) -> tuple[list[errors.Cause], list[str]]:
        places: dict[str, str] = {}
        for each in wanted:
            for container in (*each.pod.spec.init_containers, *each.pod.spec.containers):
                for name in image_names.named({"containers": [{"image": container.image}]}):
                    places.setdefault(name, f"{each.place} image {container.image}")
        absent = [ref for ref in sorted(places) if not await self._is_here(ref)]
        if not absent:
            return [], []
        auths = self._auths(items)
        gate = asyncio.Semaphore(_AT_ONCE)
        causes: list[errors.Cause] = []
        told: list[str] = []
        layers: list[oci.Descriptor] = []

        async def ask(ref: str) -> None:
            try:
                async with gate:
                    layers.extend(await self._registry.layers(ref, auths))
            except ports.PullError as error:
                if error.unreachable:
                    told.append(f"the size of {ref} is not known: {error}")
                else:
                    causes.append(errors.forbidden_field(places[ref], f"does not fit: {error}"))

        asking = [asyncio.ensure_future(ask(ref)) for ref in absent]
        try:
            _, late = await asyncio.wait(asking, timeout=PATIENCE)
        finally:
            for task in asking:
                task.cancel()
        if late:
            told.append(f"the sizes of {len(late)} images are not known: no answer in time")
        short, more = await self._lacking(layers, set(places), dry_run=dry_run or bool(causes))
        causes += [errors.forbidden_field("images", f"does not fit: {each}") for each in short]
        return causes, told + more

    async def _lacking(
        self, layers: Sequence[oci.Descriptor], keep: Collection[str], *, dry_run: bool
    ) -> tuple[list[str], list[str]]:
        """Why there is no room, and what is done about it."""
        lack = await self._lack(layers)
        if lack is None:
            return [], []
        try:
            if await self._unused.removable(keep) < lack.bytes:
                return [lack.told], []
            if dry_run:
                return [], [f"images that nobody needs would have to make room: {lack.told}"]
            await self._unused.make_room(lack.bytes, keep)
        except runtime_errors.ContainerdError:
            return [lack.told], []
        lack = await self._lack(layers)
        return ([], []) if lack is None else ([lack.told], [])

    async def _lack(self, layers: Sequence[oci.Descriptor]) -> image_room.Lack | None:
        room = await self._registry.room(layers) if layers else None
        if room is None:
            return None
        signals = {pressure.Signal.IMAGEFS}
        if not await asyncio.to_thread(gauges.apart, self._data_dir, room.root):
            signals.add(pressure.Signal.NODEFS)
        return image_room.pressing(room, self._pressure, signals)

    async def _is_here(self, ref: str) -> bool:
        try:
            await self._images.get(ref)
        except runtime_errors.NotFound:
            return False
        except runtime_errors.ContainerdError:
            return True  # nothing can be known now
        return True

    def _auths(self, items: Sequence[Item]) -> list[bytes]:
        """Every registry credential in the bundle, and of the namespaces that it is for."""
        secrets: dict[tuple[str, str], Object] = {}
        for namespace in sorted({item.key[1] for item in items} - {""}):
            for stored in self._objects.list(kinds.SECRET.resource, namespace).items:
                secrets[stored.key] = stored.decode()
        for item in items:
            if item.kind is kinds.SECRET:
                secrets[item.key[1:]] = item.obj
        return [text for secret in secrets.values() if (text := _docker_config(secret)) is not None]


def _docker_config(secret: Object) -> bytes | None:
    data: Mapping[str, str] = secret.get("data") or {}
    plain: Mapping[str, str] = secret.get("stringData") or {}
    for name in (".dockerconfigjson", ".dockercfg"):
        if name in plain:
            return plain[name].encode()
        if name in data:
            try:
                return base64.b64decode(data[name])
            except binascii.Error:
                return None
    return None
