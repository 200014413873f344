"""What /metrics tells of stored objects and of the process: computed when somebody scrapes.

What kube-state-metrics tells of an object goes by its names.
"""

from __future__ import annotations

import os
import pathlib
import resource
import time
from typing import TYPE_CHECKING, Any

from edgeorch.core import bundle_plan
from edgeorch.model import bundles, kinds, views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeorch.lib import metrics
    from edgeorch.store.objects import Objects

_PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
_BUNDLE_PHASES = (
    bundle_plan.PENDING,
    bundle_plan.PROGRESSING,
    bundle_plan.READY,
    bundle_plan.DEGRADED,
    bundle_plan.ROLLED_BACK,
)
_STATES = ("true", "false", "unknown")
_Found = dict[tuple[str, ...], float]


def count_objects(registry: metrics.Registry, objects: Objects) -> None:
    """Metrics computed from the store when they are read."""

    def by_resource() -> _Found:
        return {
            (kind.resource,): float(len(objects.list(kind.resource).items))
            for kind in objects.registry
        }

    def pods() -> Iterator[views.Pod]:
        return (stored.view(views.Pod) for stored in objects.list(kinds.POD.resource).items)

    def by_phase() -> _Found:
        return _counted(_PHASES, (pod.status.phase or "Pending" for pod in pods()))

    def bundles_by_phase() -> _Found:
        found = objects.list(kinds.BUNDLE.resource).items
        phases = (stored.view(bundles.Bundle).status.phase for stored in found)
        return _counted(_BUNDLE_PHASES, (phase or bundle_plan.PENDING for phase in phases))

    registry.collected(
        "apiserver_storage_objects",
        "Number of stored objects by resource.",
        by_resource,
        ("resource",),
    )
    registry.one(
        "edgeorch_store_watches",
        "Watches of the store, also those of the device's own parts.",
        lambda: objects.watched,
    )
    registry.collected("edgeorch_pods", "Number of pods by phase.", by_phase, ("phase",))
    registry.collected(
        "edgeorch_bundles", "Number of bundles by phase.", bundles_by_phase, ("phase",)
    )
    _tell_of_states(registry, objects, pods)


def _counted(known: tuple[str, ...], seen: Iterator[str]) -> _Found:
    found: _Found = {(phase,): 0.0 for phase in known}
    for phase in seen:
        found[phase,] = found.get((phase,), 0.0) + 1
    return found


def _tell_of_states(
    registry: metrics.Registry, objects: Objects, pods: Callable[[], Iterator[views.Pod]]
) -> None:
    def restarts(of: Callable[[views.Pod], list[dict[str, Any]]]) -> Callable[[], _Found]:
        return lambda: {
            (meta.namespace, meta.name, meta.uid, str(status.get("name"))): float(
                status.get("restartCount") or 0
            )
            for pod in pods()
            for meta, status in ((pod.metadata, status) for status in of(pod))
        }

    def conditions() -> _Found:
        return {
            (stored.name, str(held.get("type")), state): float(
                str(held.get("status")).lower() == state
            )
            for stored in objects.list(kinds.NODE.resource).items
            for held in (stored.decode().get("status") or {}).get("conditions") or []
            for state in _STATES
        }

    of_container = ("namespace", "pod", "uid", "container")
    registry.collected(
        "kube_pod_container_status_restarts_total",
        "Restarts of each container.",
        restarts(lambda pod: pod.status.container_statuses),
        of_container,
        kind="counter",
    )
    registry.collected(
        "kube_pod_init_container_status_restarts_total",
        "Restarts of each init container.",
        restarts(lambda pod: pod.status.init_container_statuses),
        of_container,
        kind="counter",
    )
    registry.collected(
        "kube_node_status_condition",
        "1 for what a condition of the node is, 0 for what it is not.",
        conditions,
        ("node", "condition", "status"),
    )


def measure_process(registry: metrics.Registry) -> None:
    """The process itself, from /proc and getrusage."""
    started = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - _started_after_boot())

    registry.one(
        "process_cpu_seconds_total",
        "CPU time of the process, user and system, in seconds.",
        time.process_time,
        kind="counter",
    )
    registry.one(
        "process_resident_memory_bytes",
        "Resident memory in bytes.",
        lambda: _rollup().get("Rss", 0) * 1024,
    )
    registry.one(
        "process_proportional_memory_bytes",
        "Proportional set size in bytes: shared pages counted by their share.",
        lambda: _rollup().get("Pss", 0) * 1024,
    )
    registry.one(
        "process_open_fds",
        "Open file descriptors.",
        lambda: len(os.listdir("/proc/self/fd")),
    )
    registry.one(
        "process_max_fds",
        "Limit of open file descriptors.",
        lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )
    registry.one(
        "process_start_time_seconds",
        "Start of the process, in seconds since the epoch.",
        lambda: started,
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
