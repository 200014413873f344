"""What broken-off calls left in containerd and beside it, and no worker knows of.

When containerd or this process ends between two calls, a snapshot may stand without its record, a
lease may hold an image nobody waits for any more, FIFOs may lie there for a container that is gone.
Looked for after every listing of containerd and some time after a pod has gone; never by a timer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from edgeorch.agent.observer import Observer
from edgeorch.core.observed import State
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeorch.agent import image_gc, sandboxes
    from edgeorch.runtime import containers, stdio

log = logging.getLogger(__name__)

SETTLE = 0.5
"""Seconds in which pods that end together have ended."""


class Tidier:
    def __init__(
        self,
        observer: Observer,
        records: containers.Containers,
        images: image_gc.ImageCollector,
        fifos: stdio.StdioDir,
        boxes: sandboxes.Sandboxes,
        pods: Callable[[], set[str]],
    ) -> None:
        """`pods` are those that are worked on or have containers, by uid."""
        self._observer = observer
        self._containers = records
        self._images = images
        self._fifos = fifos
        self._sandboxes = boxes
        self._pods = pods
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Something may have been left."""
        self._wake.set()

    async def run(self) -> None:
        """To be begun once `pods` is complete."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()
            try:
                await self.tidy()
                await self._sandboxes.sweep_groups(self._pods, self._has_ended)
            except (errors.ContainerdError, OSError) as error:
                # Its next listing wakes us again.
                log.debug("Cannot look for what is left: %s", error)

    async def tidy(self) -> None:
        """Raises ContainerdError."""
        for what in await self._containers.shims.sweep():
            log.info("Ended %s: containerd does not know of it", what)
        for key in await self._containers.remove_orphans():
            log.info("Removed what was left of %s: no such container", key)
        await self._images.drop_leases()
        for container_id in await asyncio.to_thread(self._fifos.container_ids):
            if self._observer.container(container_id) is None:
                await asyncio.to_thread(self._fifos.remove, container_id)

    def _has_ended(self, container_id: str) -> bool:
        container = self._observer.container(container_id)
        return container is not None and container.state is State.ENDED and container.settled
