"""Pods with a limit on their share of the disk: measured now and then, evicted when beyond it.

Only such pods cost anything: while there is none, nothing here wakes up. What is measured and told
is the kubelet's (core.local_storage); how often is bounded by what measuring takes, so that a
volume of a million files does not keep a small device busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import local_storage
from edgeorch.lib import disk
from edgeorch.runtime import errors

if TYPE_CHECKING:
    import pathlib

    from edgeorch.agent import ports, volumes
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.pod_worker import PodWorker
    from edgeorch.core.observed import Container
    from edgeorch.model import views

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two measurements, as the kubelet's eviction manager."""
_REST = 20
"""How many times longer than it takes measuring rests."""


class DiskMeter:
    """What a pod has on the disk: writable layers, logs, volumes."""

    def __init__(
        self,
        snapshots: ports.Snapshots,
        shelf: volumes.Volumes,
        log_path: Callable[[views.Meta, str, int], pathlib.Path],
    ) -> None:
        self._snapshots = snapshots
        self._volumes = shelf
        self._log_path = log_path

    async def rootfs(self, containers: Iterable[Container]) -> dict[str, disk.Usage]:
        """By name of the container. Raises ContainerdError."""
        found: dict[str, disk.Usage] = {}
        for container in containers:
            usage = await self._snapshots.usage(container.id)
            found[container.name] = found.get(container.name, disk.Usage()) + usage
        return found

    def files(
        self, pod: views.Pod, names: Iterable[str]
    ) -> tuple[dict[str, disk.Usage], dict[str, disk.Usage]]:
        """Logs of the containers of these names, and volumes on the disk. Blocks."""
        meta = pod.metadata
        logs = {name: disk.tree(self._log_path(meta, name, 0).parent) for name in names}
        counted = set(local_storage.on_disk(pod))
        shelved = {
            str(volume["name"]): disk.tree(self._volumes.path(pod, volume))
            for volume in pod.spec.volumes
            if volume["name"] in counted
        }
        return logs, shelved

    def file_system(self, pod: views.Pod, volume: str) -> disk.FileSystem | None:
        """That a volume is on; None when it is not there. Blocks."""
        for each in pod.spec.volumes:
            if each["name"] == volume:
                with contextlib.suppress(OSError, VolumeError):
                    return disk.file_system(self._volumes.path(pod, each))
        return None

    async def usage(self, pod: views.Pod, containers: Iterable[Container]) -> local_storage.Usage:
        """Raises ContainerdError."""
        rootfs = await self.rootfs(containers)
        logs, shelved = await asyncio.to_thread(self.files, pod, list(rootfs))
        return local_storage.Usage(_bytes(rootfs), _bytes(logs), _bytes(shelved))


class LocalStorage:
    def __init__(
        self, meter: DiskMeter, observer: Observer, workers: Callable[[], Iterable[PodWorker]]
    ) -> None:
        self._meter = meter
        self._observer = observer
        self._workers = workers
        self._wake = asyncio.Event()

    def came(self, pod: views.Pod) -> None:
        """A pod is new here, or another than it was."""
        if local_storage.bounded(pod):
            self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            bounded = [each for each in self._workers() if local_storage.bounded(each.pod)]
            if not bounded:
                await self._wake.wait()
                continue
            began = loop.time()
            for worker in bounded:
                await self._measure(worker)
            await asyncio.sleep(max(INTERVAL, _REST * (loop.time() - began)))

    async def _measure(self, worker: PodWorker) -> None:
        pod = worker.pod
        if pod.terminal or pod.metadata.deletion_timestamp:
            return
        containers = self._observer.pod(pod.metadata.uid)
        try:
            usage = await self._meter.usage(pod, containers)
        except (errors.ContainerdError, OSError) as error:  # the next time may go better
            log.debug("Cannot measure %s: %s", pod.metadata.name, error)
            return
        said = local_storage.judge(pod, usage)
        if said is not None and worker.evict(said):
            meta = pod.metadata
            log.warning("Evicting %s/%s: %s", meta.namespace, meta.name, said.message.strip())


def _bytes(found: dict[str, disk.Usage]) -> dict[str, int]:
    return {name: usage.bytes for name, usage in found.items()}
