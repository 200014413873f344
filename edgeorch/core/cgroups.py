"""Where pods live in the cgroup tree, and what requests and limits are there.

Arithmetic of pkg/kubelet/cm/helpers_linux.go; cgroup v2 weights as runc converts shares.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from edgeorch.core import qos
from edgeorch.lib import quantity
from edgeorch.model import pod_resources, views

PERIOD_US = 100_000
MIN_QUOTA_US = 1000
_SIZES = {"GB": 1 << 30, "MB": 1 << 20, "KB": 1 << 10}
MIN_SHARES, MAX_SHARES = 2, 262_144


class Limits(Struct, frozen=True):
    """None is no limit."""

    cpu_shares: int
    cpu_quota_us: int | None
    memory_bytes: int | None
    pids: int | None = None


def pod_path(root: str, qos_class: str, uid: str) -> str:
    """Relative to the mount of the hierarchy, with a leading slash."""
    return f"{tier_path(root, qos_class)}/pod{uid}"


def pods_path(root: str) -> str:
    """Of all pods."""
    return f"{root.rstrip('/')}/kubepods"


def tier_path(root: str, qos_class: str) -> str:
    """Of the pods of one class; guaranteed ones stand beside the other classes."""
    tier = "" if qos_class == qos.GUARANTEED else f"/{qos_class.lower()}"
    return f"{pods_path(root)}{tier}"


def container_limits(resources: views.Resources) -> Limits:
    limits, requests = resources.limits, resources.requests
    cpu_request = _milli(requests, "cpu") if "cpu" in requests else _milli(limits, "cpu")
    memory = _bytes(limits, "memory")
    return Limits(shares(cpu_request), quota_us(_milli(limits, "cpu")), memory or None)


def huge_pages(resources: views.Resources) -> list[tuple[str, int]]:
    """Size of the pages as the kernel writes it (`2MB`), and how many bytes of them."""
    found = []
    for name in sorted(resources.limits):
        if name.startswith(pod_resources.HUGE_PAGES):
            size = quantity.parse(name.removeprefix(pod_resources.HUGE_PAGES)).value()
            unit = next(u for u in ("GB", "MB", "KB") if size % _SIZES[u] == 0)
            found.append((f"{size // _SIZES[unit]}{unit}", _bytes(resources.limits, name)))
    return found


def pod_limits(spec: views.PodSpec, pids: int | None = None) -> Limits:
    """What all containers may have together: a limit only where the pod or each container has one.

    A pod of class BestEffort asks for nothing and so gets the least.
    """
    asked, most = pod_resources.requests(spec), pod_resources.limits(spec)
    cpu = _bound(spec, most, "cpu")
    memory = _bound(spec, most, "memory")
    return Limits(
        shares(_up(asked.get("cpu", 0), quantity.NANO // 1000)),
        quota_us(_up(cpu, quantity.NANO // 1000)),
        _up(memory, quantity.NANO) or None,
        pids,
    )


def _bound(spec: views.PodSpec, most: Mapping[str, int], name: str) -> int:
    """In nano units; 0 for none."""
    own = spec.resources.limits if spec.resources is not None else {}
    every = (*spec.containers, *spec.init_containers)
    bounded = name in own or all(_amount(each.resources.limits, name) for each in every)
    return most.get(name, 0) if bounded else 0


def shares(milli: int) -> int:
    return max(MIN_SHARES, min(MAX_SHARES, milli * 1024 // 1000)) if milli else MIN_SHARES


def quota_us(milli: int) -> int | None:
    return max(MIN_QUOTA_US, milli * PERIOD_US // 1000) if milli else None


def weight(cpu_shares: int) -> int:
    """cgroup v2 cpu.weight (1 to 10000) for v1 shares (2 to 262144)."""
    return 1 + (cpu_shares - 2) * 9999 // 262_142


def _milli(quantities: dict[str, str], name: str) -> int:
    return quantity.parse(quantities.get(name, "0")).milli()


def _amount(quantities: dict[str, str], name: str) -> int:
    return quantity.parse(quantities.get(name, "0")).nano


def _up(amount: int, unit: int) -> int:
    return -(-amount // unit)


def _bytes(quantities: dict[str, str], name: str) -> int:
    return quantity.parse(quantities.get(name, "0")).value()
