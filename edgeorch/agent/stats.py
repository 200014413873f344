"""What containers and the machine use: CPU and memory, read from the kernel when somebody asks.

Nothing is sampled in the background. CPU is a rate between two samples: the former request's, when
that is of use, else two a moment apart. Memory is the working set, as kubelet counts it: usage
without inactive file cache. Sources: cgroups(7), cgroup-v2.rst, proc(5).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from edgeorch.agent import counters
from edgeorch.core import cgroups, qos
from edgeorch.model import kinds, views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeorch.lib import clock as clocks
    from edgeorch.store.objects import Objects

_SHORTEST, _LONGEST = 0.5, 120.0
"""Seconds that two samples of a rate are apart."""


class Usage(Struct, frozen=True):
    """`cpu` in nanoseconds of one core a second, over `window` seconds; `memory` in bytes."""

    cpu: int
    memory: int
    window: float


class Measured(Struct, frozen=True):
    counters: counters.Counters
    usage: Usage


class Stats:
    def __init__(self, objects: Objects, cgroup_root: str, clock: clocks.Clock) -> None:
        self._objects = objects
        self._root = cgroup_root
        self._clock = clock
        self._former: dict[str, counters.Counters] = {}
        """By cgroup path, of those that still run."""

    async def node(self) -> Usage | None:
        found = await self._usages({counters.MACHINE})
        return found.get(counters.MACHINE)

    async def pods(self, names: set[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Usage]]:
        """Namespace and name of each pod to the usage of each of its running containers."""
        groups = {key: self._groups(*key) for key in names}
        paths = {path for group in groups.values() for path in group.values()}
        return _by_pod(groups, await self._usages(paths))

    async def since_last(
        self, names: set[tuple[str, str]]
    ) -> dict[tuple[str, str], dict[str, Usage]]:
        """As `pods`, over the time since this was last asked: whoever is seen for the first time
        is left out. For one who asks in regular turns, and pays nothing but reading."""
        groups = {key: self._groups(*key) for key in names}
        paths = {path for group in groups.values() for path in group.values()}
        recent = self._clock.monotonic() - _SHORTEST
        if any(path in self._former and self._former[path].at > recent for path in paths):
            await asyncio.sleep(_SHORTEST)
        now = await self._sampled(paths)
        before = self._former
        self._remember(now)
        usages = {
            path: _rate(before[path], sample)
            for path, sample in now.items()
            if self._useful(before.get(path), sample)
        }
        return _by_pod(groups, usages)

    def _groups(self, namespace: str, name: str) -> dict[str, str]:
        """Names of the pod's running containers to their cgroups."""
        stored = self._objects.find(kinds.POD.resource, namespace, name)
        if stored is None:
            return {}
        obj, pod = stored.decode(), stored.view(views.Pod)
        tier = qos.qos_class(pod.spec)
        above = cgroups.pod_path(self._root, tier, pod.metadata.uid)
        status = obj.get("status") or {}
        listed = [
            *(status.get("containerStatuses") or ()),
            *(status.get("initContainerStatuses") or ()),
            *(status.get("ephemeralContainerStatuses") or ()),
        ]
        return {
            each["name"]: f"{above}/{each['containerID'].rpartition('/')[2]}"
            for each in listed
            if (each.get("state") or {}).get("running") and each.get("containerID")
        }

    async def measure(self, paths: set[str]) -> dict[str, Measured]:
        """By cgroup path: what is counted now, and how fast that grows."""
        usages = await self._usages(paths)
        return {path: Measured(self._former[path], usage) for path, usage in usages.items()}

    async def _usages(self, paths: set[str]) -> dict[str, Usage]:
        now = await self._sampled(paths)
        before = {path: self._former[path] for path in paths if path in self._former}
        new = {path for path, each in now.items() if not self._useful(before.get(path), each)}
        if new:
            before |= {path: now[path] for path in new}
            await asyncio.sleep(_SHORTEST)
            again = await self._sampled(new)
            now = {path: each for path, each in now.items() if path not in new} | again
        self._remember(now)
        return {path: _rate(before[path], sample) for path, sample in now.items() if path in before}

    def _remember(self, samples: Mapping[str, counters.Counters]) -> None:
        self._former = {
            path: sample
            for path, sample in {**self._former, **samples}.items()
            if self._clock.monotonic() - sample.at < _LONGEST
        }

    async def _sampled(self, paths: set[str]) -> dict[str, counters.Counters]:
        at = self._clock.monotonic()
        found = await asyncio.to_thread(counters.read, paths)
        return {path: structs.replace(sample, at=at) for path, sample in found.items()}

    def _useful(self, before: counters.Counters | None, now: counters.Counters) -> bool:
        return (
            before is not None
            and _SHORTEST <= now.at - before.at <= _LONGEST
            and before.cpu <= now.cpu
        )


def _by_pod(
    groups: Mapping[tuple[str, str], Mapping[str, str]], usages: Mapping[str, Usage]
) -> dict[tuple[str, str], dict[str, Usage]]:
    found = {}
    for key, group in groups.items():
        known = {name: usages[path] for name, path in group.items() if path in usages}
        if known:
            found[key] = known
    return found


def _rate(before: counters.Counters, now: counters.Counters) -> Usage:
    window = max(now.at - before.at, 1e-3)
    return Usage(int(max(0, now.cpu - before.cpu) / window), now.working_set, window)
