"""The kubelet's Summary: what the node, its pods and their containers use, measured when asked.

Shape: k8s.io/kubelet/pkg/apis/stats/v1alpha1. Disks are looked at too, unless only CPU and memory
are asked for; that takes a few milliseconds for each pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.agent import counters, stats
from edgeorch.core import cgroups, qos
from edgeorch.core.observed import State
from edgeorch.lib import clock as clocks
from edgeorch.lib import disk
from edgeorch.model import kinds, views
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.agent.local_storage import DiskMeter
    from edgeorch.agent.settings import Settings
    from edgeorch.core.observed import Container
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects


class Sources(Struct, frozen=True):
    """Where the agent looks."""

    disk: DiskMeter
    images: ports.Images
    snapshots: Callable[[], Awaitable[str]]
    """Where the layers of images and containers lie."""
    containers: Callable[[str], tuple[Container, ...]]
    """Of a pod, by its uid."""


class Summaries(stats.Stats):
    def __init__(
        self, objects: Objects, clock: clocks.Clock, settings: Settings, sources: Sources
    ) -> None:
        super().__init__(objects, settings.cgroup_root, clock)
        self._settings = settings
        self._sources = sources

    async def summary(self, *, only_cpu_and_memory: bool = False) -> Object:
        pods = [stored.view(views.Pod) for stored in self._objects.list(kinds.POD.resource).items]
        pods = [pod for pod in pods if pod.spec.node_name == self._settings.node_name]
        running = {
            pod.metadata.uid: [
                each
                for each in self._sources.containers(pod.metadata.uid)
                if each.state is State.RUNNING
            ]
            for pod in pods
        }
        pods = [pod for pod in pods if running[pod.metadata.uid]]
        paths = {counters.MACHINE, cgroups.pods_path(self._root)}
        for pod in pods:
            above = self._above(pod)
            paths |= {above, *(f"{above}/{each.id}" for each in running[pod.metadata.uid])}
        rates = await self.measure(paths)
        told = _Told(clocks.rfc3339(self._clock.now()), rates)
        found = [await self._pod(pod, running[pod.metadata.uid], told) for pod in pods]
        node = told.usage(counters.MACHINE)
        node |= self._node(told)
        if not only_cpu_and_memory:
            node |= await self._machine(told)
            for pod, summary in zip(pods, found, strict=True):
                await self._disks(pod, running[pod.metadata.uid], summary, told)
        return {"node": node, "pods": found}

    def _above(self, pod: views.Pod) -> str:
        return cgroups.pod_path(self._root, qos.qos_class(pod.spec), pod.metadata.uid)

    # --- the node -------------------------------------------------------------------------------

    def _node(self, told: _Told) -> Object:
        up = datetime.timedelta(seconds=self._clock.monotonic())
        all_pods = {"name": "pods", **told.usage(cgroups.pods_path(self._root))}
        return {
            "nodeName": self._settings.node_name,
            "startTime": clocks.rfc3339(self._clock.now() - up),
            "systemContainers": [all_pods],
        }

    async def _machine(self, told: _Told) -> Object:
        found: Object = {"network": told.network("self", virtual=False), "rlimit": _limits(told)}
        own = await asyncio.to_thread(_space, self._settings.data_dir)
        found["fs"] = told.space(own)
        sizes: dict[str, int] = {}
        root = ""
        with contextlib.suppress(errors.ContainerdError):
            root = await self._sources.snapshots()
            sizes = {each.digest: each.size for each in await self._sources.images.list()}
        images = await asyncio.to_thread(_space, root or self._settings.data_dir)
        shown = told.space(images)
        found["runtime"] = {
            "imageFs": {**shown, "usedBytes": sum(sizes.values())},
            "containerFs": shown,
        }
        return found

    # --- a pod ----------------------------------------------------------------------------------

    async def _pod(self, pod: views.Pod, running: list[Container], told: _Told) -> Object:
        meta, above = pod.metadata, self._above(pod)
        found: Object = {
            "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "startTime": pod.status.start_time,
            "containers": [
                {
                    "name": each.name,
                    "startTime": each.started or pod.status.start_time,
                    **told.usage(f"{above}/{each.id}"),
                }
                for each in running
            ],
            **told.usage(above),
        }
        if not pod.spec.host_network:
            pid = next((each.pid for each in running if each.pid), 0)
            found["network"] = told.network(str(pid), virtual=True)
        found["process_stats"] = {"process_count": told.processes(above)}
        return found

    async def _disks(
        self, pod: views.Pod, running: list[Container], summary: Object, told: _Told
    ) -> None:
        meter = self._sources.disk
        try:
            layers = await meter.rootfs(running)
            root = await self._sources.snapshots()
        except errors.ContainerdError:
            layers, root = {}, ""
        names = [each.name for each in running]
        logs, volumes = await asyncio.to_thread(meter.files, pod, names)
        own = await asyncio.to_thread(_space, self._settings.data_dir)
        below = await asyncio.to_thread(_space, root or self._settings.data_dir)
        for entry in summary["containers"]:
            entry["rootfs"] = told.space(below, layers.get(entry["name"], disk.Usage()))
            entry["logs"] = told.space(own, logs.get(entry["name"], disk.Usage()))
        listed = [{**told.space(own, usage), "name": name} for name, usage in volumes.items()]
        for name, claim in _claims(pod).items():
            system = await asyncio.to_thread(meter.file_system, pod, name)
            reference = {"name": claim, "namespace": pod.metadata.namespace}
            listed.append({**told.space(system), "name": name, "pvcRef": reference})
        if listed:
            summary["volume"] = listed
        together = sum(
            (usage for part in (layers, logs, volumes) for usage in part.values()), disk.Usage()
        )
        summary["ephemeral-storage"] = told.space(own, together)


class _Told:
    """What was measured, in the words of the Summary."""

    def __init__(self, now: str, rates: dict[str, stats.Measured]) -> None:
        self.now = now
        self._rates = rates

    def usage(self, path: str) -> Object:
        measured = self._rates.get(path)
        if measured is None:
            return {}
        now = measured.counters
        memory: Object = {
            "time": self.now,
            "usageBytes": now.usage,
            "workingSetBytes": now.working_set,
            "rssBytes": now.rss,
            "pageFaults": now.faults,
            "majorPageFaults": now.major_faults,
        }
        if now.available is not None:
            memory["availableBytes"] = now.available
        return {
            "cpu": {
                "time": self.now,
                "usageNanoCores": measured.usage.cpu,
                "usageCoreNanoSeconds": now.cpu,
            },
            "memory": memory,
            "swap": {"time": self.now, "swapUsageBytes": now.swap},
        }

    def processes(self, path: str) -> int:
        measured = self._rates.get(path)
        return measured.counters.processes if measured is not None else 0

    def network(self, process: str, *, virtual: bool) -> Object:
        """`virtual`: of a pod, whose one interface is a veth."""
        found = [
            {
                "name": each.name,
                "rxBytes": each.received,
                "rxErrors": each.receive_errors,
                "txBytes": each.sent,
                "txErrors": each.send_errors,
            }
            for each in counters.interfaces(process)
            if each.name != "lo" and (virtual or not each.name.startswith("veth"))
        ]
        default = counters.default_interface(process)
        first: Object = next((each for each in found if each["name"] == default), {})
        return {"time": self.now, **first, "interfaces": found}

    def space(self, system: disk.FileSystem | None, usage: disk.Usage | None = None) -> Object:
        """FsStats: of a whole file system, or of a part of it."""
        if system is None:
            return {"time": self.now}
        return {
            "time": self.now,
            "availableBytes": system.available,
            "capacityBytes": system.capacity,
            "usedBytes": system.used if usage is None else usage.bytes,
            "inodesFree": system.inodes_free,
            "inodes": system.inodes,
            "inodesUsed": system.inodes - system.inodes_free if usage is None else usage.inodes,
        }


def _claims(pod: views.Pod) -> dict[str, str]:
    """Names of volumes to names of their claims."""
    return {
        str(volume["name"]): str(volume["persistentVolumeClaim"].get("claimName", ""))
        for volume in pod.spec.volumes
        if volume.get("persistentVolumeClaim")
    }


def _space(path: str | os.PathLike[str]) -> disk.FileSystem | None:
    try:
        return disk.file_system(path)
    except OSError:
        return None


def _limits(told: _Told) -> Object:
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        most = int(file.read())
    with open("/proc/loadavg", encoding="ascii") as file:
        now = int(file.read().split()[3].partition("/")[2])
    return {"time": told.now, "maxpid": most, "curproc": now}
