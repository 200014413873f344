"""What the node does when it runs short of something: says so, makes room, puts pods out.

Looks every ten seconds, like the kubelet's eviction manager, at nothing that costs (`gauges`); pods
are measured only when one has to go. What is short and who goes is decided in `core.pressure` and
`core.pressure_ranks`. Before a pod goes, what nobody needs does: containers of pods that are over,
images that nothing names, rotated logs. Then one pod at a time, and when it is gone, another look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.agent import counters, gauges
from edgeorch.core import cgroups, eviction, pressure, pressure_ranks, qos
from edgeorch.core.observed import State
from edgeorch.core.pressure import Signal
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from edgeorch.agent.local_storage import DiskMeter
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.pod_worker import PodWorker
    from edgeorch.agent.settings import Settings
    from edgeorch.lib import clock as clocks
    from edgeorch.lib import disk, metrics

log = logging.getLogger(__name__)

CLEAN_UP = 30.0
"""Seconds that a pod which was put out has to be gone before another one is looked for."""
_SHORTEST = 0.05
REASONS = {
    pressure.MEMORY_PRESSURE: ("InsufficientMemory", "SufficientMemory"),
    pressure.DISK_PRESSURE: ("DiskPressure", "NoDiskPressure"),
    pressure.PID_PRESSURE: ("InsufficientPID", "SufficientPID"),
}
"""What the node "has" while a condition holds, and while it does not."""
_WORDS = {
    pressure.MEMORY_PRESSURE: "memory available",
    pressure.PID_PRESSURE: "PID available",
    pressure.DISK_PRESSURE: "disk pressure",
}


class Room(Struct, frozen=True):
    """How room is made without harm. Each may raise ContainerdError or OSError."""

    image_root: Callable[[], Awaitable[str]]
    remove_images: Callable[[], Awaitable[None]]
    """All that nothing names."""
    remove_logs: Callable[[], Awaitable[None]]
    """All that are written no more."""


class Pressure:
    def __init__(
        self,
        settings: Settings,
        clock: clocks.Clock,
        meter: DiskMeter,
        observer: Observer,
        workers: Callable[[], Iterable[PodWorker]],
        room: Room,
        tell: Callable[[str, str, str], None],
    ) -> None:
        """`tell` makes an event of the node (type, reason, message)."""
        self._settings = settings
        self._policy = settings.pressure
        self._clock = clock
        self._meter = meter
        self._observer = observer
        self._workers = workers
        self._room = room
        self._tell = tell
        self._state = pressure.State()
        self._image_root = ""
        self._levels: pressure.Levels = {}
        self._stuck = False
        self.may_evict = asyncio.Event()
        """Set once every pod that is there has its worker."""
        self.on_change: Callable[[], None] = lambda: None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Those that hold."""
        return self._state.conditions

    def measure(self, registry: metrics.Registry) -> None:
        registry.collected(
            "edgeorch_eviction_signal_available",
            "What is left of what the node can run short of: bytes, inodes or processes.",
            lambda: {(signal.value,): level.available for signal, level in self._levels.items()},
            ("eviction_signal",),
        )
        registry.collected(
            "edgeorch_eviction_signal_capacity",
            "How much there is of it in all.",
            lambda: {(signal.value,): level.capacity for signal, level in self._levels.items()},
            ("eviction_signal",),
        )

    async def run(self) -> None:
        while True:
            levels = await self._look()
            if self._state.due and self.may_evict.is_set():
                await self._relieve(self._state.due[0], levels)
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        pause = self._settings.pressure_interval
        at = pressure.wake_at(self._policy, self._state)
        if at is not None and not self._state.due:
            pause = min(pause, at - self._clock.monotonic())
        return max(_SHORTEST, pause)

    async def _look(self) -> pressure.Levels:
        if not self._image_root:
            try:
                self._image_root = await self._room.image_root()
            except errors.ContainerdError as error:
                log.debug("Cannot tell where layers lie: %s", error)
        levels = await asyncio.to_thread(gauges.levels, self._settings.data_dir, self._image_root)
        self._levels = levels
        before = self._state
        now = self._clock.monotonic()
        self._state = pressure.judge(self._policy, before, levels, now)
        self._changed(set(before.conditions), set(self._state.conditions))
        if not self._state.due:
            self._stuck = False
        return levels

    def _changed(self, before: set[str], now: set[str]) -> None:
        for name in sorted(before ^ now):
            told = "NodeHas" + REASONS[name][0 if name in now else 1]
            log.warning("Node %s status is now: %s", self._settings.node_name, told)
            self._tell("Normal", told, f"Node {self._settings.node_name} status is now: {told}")
        if before != now:
            self.on_change()

    # --- what is done about it --------------------------------------------------------------------

    async def _relieve(self, threshold: pressure.Threshold, levels: pressure.Levels) -> None:
        resource = threshold.signal.resource
        self._tell("Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if threshold.signal.condition == pressure.DISK_PRESSURE:
            await self._make_room()
            levels = await self._look()
            if not self._state.due:
                log.info("There is enough %s again without putting a pod out", resource)
                return
            threshold = self._state.due[0]
        await self._put_one_out(threshold, levels)

    async def _make_room(self) -> None:
        """Whatever of it fails leaves the rest."""
        over = [worker for worker in self._workers() if worker.pod.terminal]
        for worker in over:
            worker.make_room()
        for work in (self._room.remove_logs, self._room.remove_images):
            try:
                await work()
            except (errors.ContainerdError, OSError) as error:
                log.info("Cannot make room: %s", error)
        for worker in over:
            await self._gone(worker)

    async def _put_one_out(self, threshold: pressure.Threshold, levels: pressure.Levels) -> None:
        candidates = {worker.pod.metadata.uid: worker for worker in self._workers()}
        found = [
            pressure_ranks.Candidate(worker.pod, await self._usage(worker, threshold.signal))
            for worker in candidates.values()
            if not worker.pod.terminal and not worker.refused
        ]
        apart = await asyncio.to_thread(gauges.apart, self._settings.data_dir, self._image_root)
        for chosen in pressure_ranks.rank(threshold.signal, found, own_imagefs=apart):
            if pressure.critical(chosen.pod):
                continue
            told = pressure_ranks.message(threshold, levels, chosen)
            worker = candidates[chosen.pod.metadata.uid]
            if worker.evict(eviction.Eviction(told, grace=self._grace(threshold, chosen))):
                self._stuck = False
                meta = chosen.pod.metadata
                log.warning("Evicting %s/%s: %s", meta.namespace, meta.name, told.strip())
                await self._gone(worker)
                return
        if not self._stuck:
            log.warning("Unable to evict any pods from the node")
        self._stuck = True

    def _grace(self, threshold: pressure.Threshold, chosen: pressure_ranks.Candidate) -> float:
        if threshold.grace is None:
            return eviction.IMMEDIATE_GRACE
        own = float(chosen.pod.spec.termination_grace_period_seconds)
        return max(eviction.IMMEDIATE_GRACE, min(own, self._policy.max_pod_grace))

    async def _gone(self, worker: PodWorker) -> None:
        """Until nothing of the pod takes room any more, or for as long as is waited for one."""
        try:
            async with asyncio.timeout(CLEAN_UP):
                await worker.cleared.wait()
        except TimeoutError:
            log.warning("Pod %s takes long to go", worker.pod.metadata.name)

    # --- what pods use ----------------------------------------------------------------------------

    async def _usage(self, worker: PodWorker, signal: Signal) -> pressure_ranks.Usage:
        pod = worker.pod
        running = [
            each for each in self._observer.pod(pod.metadata.uid) if each.state is State.RUNNING
        ]
        if signal.condition == pressure.DISK_PRESSURE:
            try:
                return await self._disk_usage(worker)
            except (errors.ContainerdError, OSError) as error:
                log.debug("Cannot measure %s: %s", pod.metadata.name, error)
                return pressure_ranks.Usage()
        above = cgroups.pod_path(
            self._settings.cgroup_root, qos.qos_class(pod.spec), pod.metadata.uid
        )
        below = {f"{above}/{each.id}": each.name for each in running}
        read = await asyncio.to_thread(counters.read, {above, *below})
        whole = read.get(above)
        return pressure_ranks.Usage(
            memory=whole.working_set if whole is not None and running else None,
            processes=whole.processes if whole is not None else 0,
            containers={
                name: read[path].working_set for path, name in below.items() if path in read
            },
        )

    async def _disk_usage(self, worker: PodWorker) -> pressure_ranks.Usage:
        pod = worker.pod
        rootfs = await self._meter.rootfs(self._observer.pod(pod.metadata.uid))
        logs, volumes = await asyncio.to_thread(self._meter.files, pod, list(rootfs))
        return pressure_ranks.Usage(
            rootfs=_shares(rootfs),
            logs=_shares(logs),
            volumes=_shares(volumes),
            disk_measured=True,
        )


def judged(held: Iterable[str]) -> list[tuple[str, bool, str, str]]:
    """The node's conditions: type, whether it holds, reason, message."""
    conditions = set(held)
    found = []
    for name in pressure.TAINTS:
        wrong = name in conditions
        reason = "KubeletHas" + REASONS[name][0 if wrong else 1]
        if name == pressure.DISK_PRESSURE:
            how = "" if wrong else "no "
        else:
            how = "insufficient " if wrong else "sufficient "
        found.append((name, wrong, reason, f"kubelet has {how}{_WORDS[name]}"))
    return found


def _shares(found: dict[str, disk.Usage]) -> dict[str, pressure_ranks.Share]:
    return {name: pressure_ranks.Share(each.bytes, each.inodes) for name, each in found.items()}
