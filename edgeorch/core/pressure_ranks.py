"""Which pod goes first when the node runs short of something, and what it is told.

First those that use more than they asked for, then by priority, then by how much more; of processes
nothing can be asked for. A pod that cannot be measured goes before all others. As the rank
functions and evictionMessage of pkg/kubelet/eviction/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct, field

from edgeorch.core import pressure
from edgeorch.core.pressure import INODES, MEMORY, PIDS, STORAGE, Signal
from edgeorch.lib import quantity
from edgeorch.model import pod_resources, views


class Share(NamedTuple):
    """Of a disk."""

    bytes: int = 0
    inodes: int = 0


class Usage(Struct, frozen=True):
    """Of one pod. Memory is the working set in bytes; disk by container, and by volume."""

    memory: int | None = None
    """None where the pod has no processes that could be measured."""
    processes: int = 0
    containers: Mapping[str, int] = field(default_factory=dict)
    """Memory of each."""
    rootfs: Mapping[str, Share] = field(default_factory=dict)
    logs: Mapping[str, Share] = field(default_factory=dict)
    volumes: Mapping[str, Share] = field(default_factory=dict)
    disk_measured: bool = False


class Candidate(Struct, frozen=True):
    pod: views.Pod
    usage: Usage


def rank(signal: Signal, pods: Iterable[Candidate], *, own_imagefs: bool) -> list[Candidate]:
    """Who goes first comes first. `own_imagefs`: images and writable layers lie elsewhere than
    logs and volumes."""

    def key(each: Candidate) -> tuple[bool, bool, int, int]:
        used, priority = _used(signal, each.usage, own_imagefs), each.pod.spec.priority
        if signal.resource == PIDS:
            return True, False, priority, -(used or 0)
        if used is None:
            return False, False, priority, 0
        over = used - _asked(signal.resource, each.pod)
        return True, over <= 0, priority, -over

    return sorted(pods, key=key)


def _used(signal: Signal, usage: Usage, own_imagefs: bool) -> int | None:
    if signal is Signal.MEMORY:
        return usage.memory
    if signal is Signal.PIDS:
        return usage.processes
    if not usage.disk_measured:
        return None
    parts = [usage.rootfs, usage.logs, usage.volumes]
    if own_imagefs:
        of_images = signal in (Signal.IMAGEFS, Signal.IMAGEFS_INODES)
        parts = [usage.rootfs] if of_images else [usage.logs, usage.volumes]
    shares = [share for part in parts for share in part.values()]
    return sum(each.inodes if signal.resource == INODES else each.bytes for each in shares)


def _asked(resource: str, pod: views.Pod) -> int:
    amounts = pod_resources.requests(pod.spec)
    return -(-amounts.get(resource, 0) // quantity.NANO)


def message(threshold: pressure.Threshold, levels: pressure.Levels, chosen: Candidate) -> str:
    resource = threshold.signal.resource
    told = f"The node was low on resource: {resource}. "
    level = levels.get(threshold.signal)
    if level is not None:
        least = _binary(threshold.value.of(level.capacity))
        told += f"Threshold quantity: {least}, available: {_binary(level.available)}. "
    for container in chosen.pod.spec.containers:
        used = _of_container(resource, container.name, chosen.usage)
        asked = quantity.parse(container.resources.requests.get(resource, "0"))
        if used is not None and used * quantity.NANO > asked.nano:
            told += (
                f"Container {container.name} was using {_binary(used)}, request is {asked}, "
                f"has larger consumption of {resource}. "
            )
    return told


def _of_container(resource: str, name: str, usage: Usage) -> int | None:
    if resource == MEMORY:
        return usage.containers.get(name)
    if resource == STORAGE and name in usage.rootfs:
        return usage.rootfs[name].bytes + usage.logs.get(name, Share()).bytes
    return None


def _binary(amount: int) -> str:
    return quantity.of_nano(amount * quantity.NANO, "BinarySI").text
