"""Kernel parameters that a pod may set for itself, and how they are called.

Only those that belong to a namespace of the pod can be set at all. The safe ones are open to every
pod; others (they may upset the node) to none, unless the administrator allows them.

List, wording and rules as in pkg/kubelet/sysctl; sysctl(8) for the two ways to write a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from edgeorch.model import views

Namespace = Literal["ipc", "net"]

FORBIDDEN = "SysctlForbidden"
SAFE = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
)
_OF_IPC = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def dotted(name: str) -> str:
    """`net/ipv4/conf/eth0.1/rp_filter` as `net.ipv4.conf.eth0/1.rp_filter`: where slashes part the
    name, its dots become slashes."""
    separator = next((letter for letter in name if letter in "./"), ".")
    return name if separator == "." else name.translate(_SWAPPED)


def path(name: str) -> str:
    """Below /proc/sys."""
    return dotted(name).translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")


def namespace(name: str) -> Namespace | None:
    """Whose parameter it is; None for one of the whole machine. A pattern counts as its prefix."""
    plain = dotted(name)
    if plain.startswith("net."):
        return "net"
    if plain.rstrip("*") == "kernel.sem" or plain.startswith(_OF_IPC):
        return "ipc"
    return None


def refusal(pod: views.Pod, allowed_unsafe: Sequence[str]) -> str | None:
    """Why the node does not take the pod, or None."""
    security = pod.spec.security_context or views.PodSecurity()
    for sysctl in security.sysctls:
        name = dotted(sysctl.name)
        if not _matches(name, SAFE) and not _matches(name, allowed_unsafe):
            return f'forbidden sysctl: "{name}" not allowlisted'
        kind = namespace(name)
        shared = {"net": pod.spec.host_network, "ipc": pod.spec.host_ipc}
        if kind is not None and shared[kind]:
            return f'forbidden sysctl: "{name}" not allowed with host {kind} enabled'
    return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """A pattern ends with `*` or is a name."""
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == dotted(pattern)
        for pattern in patterns
    )
