"""Room for images: the least recently used that nobody wants go when the medium fills up.

Looked at every five minutes and after an image found no room; what goes is decided in
`core.image_gc`. Also removes leases, and with them half-done downloads, of images that nobody wants
any more. The order of use outlives a restart in a file that is written after something has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import math
import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgeorch.core import image_gc, image_names, image_room
from edgeorch.lib import files, json
from edgeorch.model import kinds
from edgeorch.runtime import errors, leases, pulling

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Collection

    from edgeorch.agent import ports
    from edgeorch.lib import clock as clocks
    from edgeorch.runtime import images as runtime_images
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

PERIOD = 300.0
"""Seconds between looks at the file system, as the kubelet's."""
AGAIN = 10.0
"""Seconds after a look that failed."""
HAND_PULLS_KEPT = datetime.timedelta(days=1)
NAMING = (
    kinds.POD,
    kinds.DEPLOYMENT,
    kinds.REPLICA_SET,
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.CONTROLLER_REVISION,
    kinds.REPLICATION_CONTROLLER,
    kinds.JOB,
    kinds.CRON_JOB,
    kinds.POD_TEMPLATE,
    kinds.BUNDLE_REVISION,
)
"""Kinds whose objects name images, also those of former revisions."""


class Store(Protocol):
    """Images, as far as they are removed."""

    async def list(self) -> list[runtime_images.ImageInfo]: ...

    async def remove(self, ref: str, *, sync: bool = False) -> None: ...

    async def root(self) -> str:
        """Where layers are unpacked; "" when containerd does not say."""


class Leases(Protocol):
    async def list(self) -> list[leases.Lease]: ...

    async def remove(self, lease: str, *, sync: bool = False) -> None: ...


class ImageCollector:
    def __init__(
        self,
        objects: Objects,
        store: Store,
        held: Leases,
        containers: ports.Containers,
        clock: clocks.Clock,
        limits: image_gc.Thresholds,
        memory: pathlib.Path,
        tell: Callable[[str, str, str], None],
    ) -> None:
        """`memory` is a file of ours; `tell` makes an event of the node (type, reason, message)."""
        self._objects = objects
        self._store = store
        self._leases = held
        self._containers = containers
        self._clock = clock
        self._limits = limits
        self._memory = memory
        self._tell = tell
        self._order: dict[str, None] = {}
        """Names as they were used, the latest last."""
        self._since: dict[str, float] | None = None
        self._dirty = False
        self._failed = False
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        """Removing takes its time, and one may begin while another is at it."""
        self.given: Callable[[], set[str]] = set
        """Images that the preload folder gives."""
        self.preloaded = asyncio.Event()
        """Set while none is being imported from there: before that, `given` may lack some."""
        self.preloaded.set()
        self.pulling: Callable[[], set[str]] = set

    def used(self, ref: str) -> None:
        """A container is about to be made of it."""
        newest = next(reversed(self._order), None)
        if newest != ref:
            self._order.pop(ref, None)
            self._order[ref] = None
            self._dirty = True

    def look(self) -> None:
        """There may be no room."""
        self._wake.set()

    async def run(self) -> None:
        self._order = await asyncio.to_thread(self._remembered)
        while True:
            self._wake.clear()
            pause = PERIOD
            await self.preloaded.wait()
            try:
                await self.collect()
            except errors.ContainerdError as error:
                log.info("Cannot look at images: %s", error)
                pause = AGAIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def collect(self) -> None:
        """Once. Raises ContainerdError."""
        async with self._turn:
            await self._collect()

    async def _collect(self) -> None:
        found = self._seen(await self._store.list())
        await self.drop_leases()
        wanted = self.wanted()
        running = {record.image for record in await self._containers.list()}
        self._run_last(running)
        await self._make_room(found, wanted | running | self.given() | self.pulling())
        if self._dirty:
            self._dirty = False
            await asyncio.to_thread(self._remember, {image.name for image in found})

    def _run_last(self, running: set[str]) -> None:
        """What runs is being used."""
        rest = [name for name in self._order if name not in running]
        order = rest + [name for name in self._order if name in running]
        order += sorted(running.difference(order))
        if order != list(self._order):
            self._order = dict.fromkeys(order)
            self._dirty = True

    def wanted(self) -> set[str]:
        """Images that stored objects name."""
        found: set[str] = set()
        for kind in NAMING:
            for stored in self._objects.list(kind.resource).items:
                found |= image_names.named(stored.decode())
        return found

    async def _make_room(self, found: list[image_gc.Image], keep: set[str]) -> None:
        root = await self._store.root() or str(self._memory.parent)
        total, available = await asyncio.to_thread(_space, root)
        if total == 0:
            self._tell("Warning", "InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
            return
        missing = image_gc.to_free(total, available, self._limits)
        if not missing:
            self._failed = False
            return
        goal, freed = available + missing, 0
        log.info("The image file system at %s is too full: %d bytes should go", root, missing)
        for candidate in self._candidates(found, keep):
            if not await self._remove_unless_wanted(candidate):
                continue
            freed += candidate.size
            _, available = await asyncio.to_thread(_space, root)
            if available >= goal:
                self._failed = False
                return
        self._fell_short(missing, freed)

    async def _remove(self, candidate: image_gc.Candidate) -> None:
        log.info("Removing image %s (%s)", ", ".join(candidate.names), candidate.digest)
        for name in candidate.names:
            await self._store.remove(name, sync=name == candidate.names[-1])
            self._order.pop(name, None)
        self._dirty = True

    def _fell_short(self, missing: int, freed: int) -> None:
        told = (
            "Failed to garbage collect required amount of images. Attempted to free "
            f"{missing} bytes, but only found {freed} bytes eligible to free."
        )
        self._tell("Warning", "FreeDiskSpaceFailed", told)
        if self._failed:  # the first time may pass by itself
            self._tell("Warning", "ImageGCFailed", told)
        self._failed = True

    def _seen(self, found: list[runtime_images.ImageInfo]) -> list[image_gc.Image]:
        """With the times at which they came; those that were here at the start count as old."""
        now = self._clock.monotonic()
        before = self._since
        since = {
            image.name: before.get(image.name, now) if before is not None else -math.inf
            for image in found
        }
        self._since = since
        return [
            image_gc.Image(
                image.name,
                image.digest,
                image.size,
                since[image.name],
                pinned=image.labels.get(image_gc.PIN_LABEL) == "pinned",
            )
            for image in found
        ]

    async def removable(self, keep: Collection[str]) -> int:
        """How many bytes may go besides `keep`, about. Raises ContainerdError."""
        return sum(image_room.UNPACKED * each.size for each in await self._unused(keep))

    async def make_room(self, amount: int, keep: Collection[str]) -> None:
        """So many bytes, as far as what may go besides `keep` goes. Raises ContainerdError."""
        async with self._turn:
            root = await self._store.root() or str(self._memory.parent)
            _, available = await asyncio.to_thread(_space, root)
            goal = available + amount
            for candidate in await self._unused(keep):
                if available >= goal:
                    return
                await self._remove_unless_wanted(candidate)
                _, available = await asyncio.to_thread(_space, root)

    async def remove_unused(self) -> None:
        """All that may go, however full the medium is. Raises ContainerdError."""
        async with self._turn:
            for candidate in await self._unused():
                await self._remove_unless_wanted(candidate)

    async def _unused(self, keep: Collection[str] = ()) -> list[image_gc.Candidate]:
        if not self.preloaded.is_set():
            return []  # what is being imported from there would count as unwanted
        found = self._seen(await self._store.list())
        running = {record.image for record in await self._containers.list()}
        wanted = self.wanted() | running | self.given() | self.pulling()
        return self._candidates(found, wanted.union(keep))

    async def _remove_unless_wanted(self, candidate: image_gc.Candidate) -> bool:
        """Removing takes its time, in which a pod may have come that names the next one."""
        if not (self.wanted() | self.pulling()).isdisjoint(candidate.names):
            return False
        await self._remove(candidate)
        return True

    def _candidates(self, found: list[image_gc.Image], keep: set[str]) -> list[image_gc.Candidate]:
        now, min_age = self._clock.monotonic(), self._limits.min_age
        return image_gc.candidates(found, keep, list(self._order), now, min_age)

    async def drop_leases(self) -> None:
        """Let go of what has arrived of images that nobody wants. Raises ContainerdError."""
        held = await self._leases.list()
        if not held:
            return
        for lease in held:
            if not self._is_needed(lease):
                about = lease.labels.get(leases.ABOUT, "")
                log.info("Dropping what has arrived of %s: nobody wants it", about or lease.id)
                await self._leases.remove(lease.id, sync=True)

    def _is_needed(self, lease: leases.Lease) -> bool:
        """At this moment: a pull may begin, and take its lease up, while another is removed."""
        if lease.id.startswith(pulling.LEASE_PREFIX):
            about = lease.labels.get(leases.ABOUT, "")
            return about in self.pulling() or about in self.wanted()
        if leases.owner_lives(lease):
            return True
        if lease.created_at is None or not lease.id.startswith(pulling.HAND_PREFIX):
            return False
        return self._clock.now() - lease.created_at < HAND_PULLS_KEPT

    # --- what outlives the process --------------------------------------------------------------

    def _remembered(self) -> dict[str, None]:
        try:
            found = msgspec.json.decode(self._memory.read_bytes(), type=list[str])
        except FileNotFoundError:
            found = []
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("Cannot read %s: %s", self._memory, error)
            found = []
        return dict.fromkeys([*found, *self._order])

    def _remember(self, present: set[str]) -> None:
        self._order = {name: None for name in self._order if name in present}
        try:
            files.write_atomically(self._memory, json.encode(list(self._order)), mode=0o600)
        except OSError as error:
            log.warning("Cannot write %s: %s", self._memory, error)


def _space(path: str) -> tuple[int, int]:
    """Bytes of the file system, and those that are free for us."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
