"""Where pods live in the cgroup tree, and what requests and limits are there.

Arithmetic of pkg/kubelet/cm/helpers_linux.go; cgroup v2 weights as runc converts shares.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeorch.core import qos
from edgeorch.lib import quantity
from edgeorch.model import views

PERIOD_US = 100_000
MIN_QUOTA_US = 1000
MIN_SHARES, MAX_SHARES = 2, 262_144


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    cpu_shares: int
    cpu_quota_us: int | None
    memory_bytes: int | None


def pod_path(root: str, qos_class: str, uid: str) -> str:
    """Relative to the mount of the hierarchy, with a leading slash."""
    tier = "" if qos_class == qos.GUARANTEED else f"/{qos_class.lower()}"
    return f"{root.rstrip('/')}/kubepods{tier}/pod{uid}"


def container_limits(resources: views.Resources) -> Limits:
    limits, requests = resources.limits, resources.requests
    cpu_request = _milli(requests, "cpu") if "cpu" in requests else _milli(limits, "cpu")
    memory = _bytes(limits, "memory")
    return Limits(shares(cpu_request), quota_us(_milli(limits, "cpu")), memory or None)


def pod_limits(spec: views.PodSpec) -> Limits:
    """What all containers may have together: a limit only where every container has one."""
    cpu_request = 0
    cpu_limit = memory = 0
    cpu_bounded = memory_bounded = True
    for container in spec.containers:
        limits, requests = container.resources.limits, container.resources.requests
        cpu_request += _milli(requests, "cpu") or _milli(limits, "cpu")
        cpu_limit += _milli(limits, "cpu")
        memory += _bytes(limits, "memory")
        cpu_bounded = cpu_bounded and _milli(limits, "cpu") > 0
        memory_bounded = memory_bounded and _bytes(limits, "memory") > 0
    for container in spec.init_containers:
        limits, requests = container.resources.limits, container.resources.requests
        beside = container.restart_policy == "Always"
        request, limit = _milli(requests, "cpu"), _milli(limits, "cpu")
        cpu_request = cpu_request + request if beside else max(cpu_request, request)
        cpu_limit = cpu_limit + limit if beside else max(cpu_limit, limit)
        size = _bytes(limits, "memory")
        memory = memory + size if beside else max(memory, size)
        cpu_bounded = cpu_bounded and limit > 0
        memory_bounded = memory_bounded and size > 0
    return Limits(
        shares(cpu_request),
        quota_us(cpu_limit) if cpu_bounded else None,
        memory if memory_bounded else None,
    )


def shares(milli: int) -> int:
    return max(MIN_SHARES, min(MAX_SHARES, milli * 1024 // 1000)) if milli else MIN_SHARES


def quota_us(milli: int) -> int | None:
    return max(MIN_QUOTA_US, milli * PERIOD_US // 1000) if milli else None


def weight(cpu_shares: int) -> int:
    """cgroup v2 cpu.weight (1 to 10000) for v1 shares (2 to 262144)."""
    return 1 + (cpu_shares - 2) * 9999 // 262_142


def _milli(quantities: dict[str, str], name: str) -> int:
    return quantity.parse(quantities.get(name, "0")).milli()


def _bytes(quantities: dict[str, str], name: str) -> int:
    return quantity.parse(quantities.get(name, "0")).value()
