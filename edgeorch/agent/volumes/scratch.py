"""emptyDir: a place for the pod's own use, on disk, in memory or in huge pages.

It is whole as soon as it is there: from then on what containers do to its mode and owner stays.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from edgeorch.agent import linux
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import cgroups
from edgeorch.lib import quantity
from edgeorch.model import views

_MODE, _GROUP_MODE = 0o777, 0o2777
HUGE = "HugePages"
_RESOURCE = "hugepages-"


def is_mounted(source: Mapping[str, Any]) -> bool:
    """Whether it is a file system of its own, which dies with the boot."""
    medium = source.get("medium") or ""
    return medium == "Memory" or medium.startswith(HUGE)


def make(path: pathlib.Path, source: Mapping[str, Any], pod: views.Pod, memory: int) -> None:
    """`memory`: the device's, bytes. Raises VolumeError, OSError."""
    group = pod.spec.security_context.fs_group if pod.spec.security_context else None
    mode = _MODE if group is None else _GROUP_MODE
    options = f"mode={mode:o}" + (f",gid={group}" if group is not None else "")
    medium = source.get("medium") or ""
    if medium == "Memory":
        path.mkdir(parents=True, exist_ok=True)
        if path not in linux.mount_points(path):
            size = _memory_size(source, pod, memory)
            linux.mount_tmpfs(path, f"{options},size={size}" if size else options)
    elif medium.startswith(HUGE):
        path.mkdir(parents=True, exist_ok=True)
        if path not in linux.mount_points(path):
            linux.mount_huge_pages(path, f"{options},pagesize={_page_size(medium, pod)}")
    elif medium:
        raise VolumeError(f'unknown storage medium "{medium}"')
    elif not path.exists():
        unfinished = path.with_name(f".{path.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        if group is not None:
            os.chown(unfinished, -1, group)
        unfinished.chmod(mode)
        unfinished.rename(path)


def _memory_size(source: Mapping[str, Any], pod: views.Pod, memory: int) -> int:
    """The smallest of its own limit, the pod's, and what the device has."""
    bounds = [memory, cgroups.pod_limits(pod.spec).memory_bytes or 0]
    if source.get("sizeLimit"):
        bounds.append(quantity.parse(str(source["sizeLimit"])).value())
    return min((bound for bound in bounds if bound), default=0)


def _page_size(medium: str, pod: views.Pod) -> int:
    """Bytes. `HugePages` alone means the one size that the pod asks for."""
    sizes = {medium.partition("-")[2]} - {""}
    if not sizes:
        sizes = {
            name.removeprefix(_RESOURCE)
            for container in (*pod.spec.containers, *pod.spec.init_containers)
            for name in (*container.resources.requests, *container.resources.limits)
            if name.startswith(_RESOURCE)
        }
    if len(sizes) != 1:
        why = "multiple sizes" if sizes else "no hugepages"
        raise VolumeError(f"cannot tell the page size of medium {medium}: the pod asks for {why}")
    try:
        return quantity.parse(sizes.pop()).value()
    except quantity.QuantityError as error:
        raise VolumeError(f"cannot tell the page size of medium {medium}: {error}") from error
