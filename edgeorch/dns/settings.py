"""What the DNS server is told at start."""

from __future__ import annotations

import pathlib

from msgspec import Struct


class Settings(Struct, frozen=True):
    address: str
    """Where it listens: the bridge's own address, there or not yet."""
    service_address: str
    """The ClusterIP that leads to it."""
    pod_cidr: str
    service_cidr: str
    domain: str = "cluster.local"
    resolv_conf: pathlib.Path = pathlib.Path("/etc/resolv.conf")
    port: int = 53
    resolver_port: int = 53

    attempt: float = 1.5
    """Seconds for one resolver's answer."""
    deadline: float = 4.5
    """Seconds for all attempts: less than the 5 s after which the C library asks again."""
    most_pending: int = 256
    """Questions that wait for resolvers, all clients together."""
    most_pending_of_one: int = 128
    most_connections: int = 128
    most_connections_of_one: int = 16
    idle: float = 10.0
    """Seconds after which a silent TCP connection is closed."""
    cache_entries: int = 4096
    cache_bytes: int = 1 << 20
