"""What /metrics tells of the store and of the process: computed when somebody scrapes."""

from __future__ import annotations

import os
import pathlib
import resource
import time
from typing import TYPE_CHECKING

from edgeorch.model import kinds, views

if TYPE_CHECKING:
    from edgeorch.lib import metrics
    from edgeorch.store.objects import Objects

_PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


def count_objects(registry: metrics.Registry, objects: Objects) -> None:
    """Metrics computed from the store when they are read."""

    def by_resource() -> dict[tuple[str, ...], float]:
        return {
            (kind.resource,): float(len(objects.list(kind.resource).items))
            for kind in objects.registry
        }

    def by_phase() -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {(phase,): 0.0 for phase in _PHASES}
        for stored in objects.list(kinds.POD.resource).items:
            phase = stored.view(views.Pod).status.phase or "Pending"
            found[phase,] = found.get((phase,), 0.0) + 1
        return found

    registry.collected(
        "apiserver_storage_objects",
        "Number of stored objects by resource.",
        by_resource,
        ("resource",),
    )
    registry.collected("edgeorch_pods", "Number of pods by phase.", by_phase, ("phase",))


def measure_process(registry: metrics.Registry) -> None:
    """The process itself, from /proc and getrusage."""
    started = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - _started_after_boot())

    def one(value: float) -> dict[tuple[str, ...], float]:
        return {(): value}

    registry.collected(
        "process_cpu_seconds_total",
        "CPU time of the process, user and system, in seconds.",
        lambda: one(time.process_time()),
        kind="counter",
    )
    registry.collected(
        "process_resident_memory_bytes",
        "Resident memory in bytes.",
        lambda: one(_rollup().get("Rss", 0) * 1024),
    )
    registry.collected(
        "process_proportional_memory_bytes",
        "Proportional set size in bytes: shared pages counted by their share.",
        lambda: one(_rollup().get("Pss", 0) * 1024),
    )
    registry.collected(
        "process_open_fds",
        "Open file descriptors.",
        lambda: one(len(os.listdir("/proc/self/fd"))),
    )
    registry.collected(
        "process_max_fds",
        "Limit of open file descriptors.",
        lambda: one(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    )
    registry.collected(
        "process_start_time_seconds",
        "Start of the process, in seconds since the epoch.",
        lambda: one(started),
    )


def _started_after_boot() -> float:
    """Seconds from boot to the start of this process: proc(5), starttime."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _rollup() -> dict[str, int]:
    """/proc/self/smaps_rollup in kB; empty where the kernel does not have it."""
    try:
        text = pathlib.Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return {}
    found = {}
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0])
    return found
