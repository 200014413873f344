"""Whether a pod has outgrown its share of the disk; the kubelet's rules and words.

As localStorageEviction in pkg/kubelet/eviction: first each emptyDir against its sizeLimit, then the
pod against the sum of its containers' limits, then each container against its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from edgeorch.core.eviction import Eviction
from edgeorch.lib import quantity
from edgeorch.model import pod_resources, views

STORAGE = pod_resources.STORAGE


class Usage(Struct, frozen=True):
    """Bytes on the disk: writable layers and logs by container, volumes by name."""

    rootfs: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(sum(each.values()) for each in (self.rootfs, self.logs, self.volumes))


def bounded(pod: views.Pod) -> bool:
    """Whether there is anything to measure the pod against."""
    if any(True for _ in _size_limits(pod)):
        return True
    every = (*pod.spec.containers, *pod.spec.init_containers)
    return any(STORAGE in container.resources.limits for container in every)


def on_disk(pod: views.Pod) -> list[str]:
    """Names of the volumes that count: what the pod writes, and what is copied for it."""
    found = []
    for volume in pod.spec.volumes:
        empty_dir = volume.get("emptyDir")
        if volume.get("configMap") or (empty_dir is not None and not empty_dir.get("medium")):
            found.append(str(volume["name"]))
    return found


def judge(pod: views.Pod, usage: Usage) -> Eviction | None:
    for name, limit in _size_limits(pod):
        if usage.volumes.get(name, 0) > limit.value():
            return Eviction(f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". ')
    together = pod_resources.limits(pod.spec).get(STORAGE)
    if together is not None and usage.total * quantity.NANO > together:
        most = quantity.of_nano(together, _family(pod))
        told = "Pod ephemeral local storage usage exceeds the total limit of containers"
        return Eviction(f"{told} {most}. ")
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        name, text = container.name, container.resources.limits.get(STORAGE)
        used = usage.rootfs.get(name, 0) + usage.logs.get(name, 0)
        if text is None or not quantity.parse(text).nano:
            continue
        if used > quantity.parse(text).value():
            told = f"Container {name} exceeded its local ephemeral storage limit"
            return Eviction(f'{told} "{quantity.canonical(text)}". ')
    return None


def _size_limits(pod: views.Pod) -> Iterator[tuple[str, quantity.Quantity]]:
    """Of emptyDirs on the disk; one in memory cannot outgrow its own."""
    for volume in pod.spec.volumes:
        empty_dir = volume.get("emptyDir")
        if empty_dir and empty_dir.get("sizeLimit") and not empty_dir.get("medium"):
            limit = quantity.parse(str(empty_dir["sizeLimit"]))
            if limit.nano:
                yield str(volume["name"]), limit


def _family(pod: views.Pod) -> quantity.Format:
    """The way of writing of the first limit that is written."""
    every = (*pod.spec.containers, *pod.spec.init_containers)
    texts = (container.resources.limits.get(STORAGE) for container in every)
    return next((quantity.parse(text).format for text in texts if text), "BinarySI")
