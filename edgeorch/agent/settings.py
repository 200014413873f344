"""What the node agent is told at start."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from msgspec import Struct, field

from edgeorch.core import pressure
from edgeorch.core.devices import Selector


class ImageSettings(Struct, frozen=True):
    preload_dir: pathlib.Path | None = None
    """Whose archives are imported; None: there is no such folder."""
    parallel_pulls: int = 2
    gc_high_percent: int = 85
    gc_low_percent: int = 80
    gc_min_age: float = 120.0


class Settings(Struct, frozen=True):
    node_name: str
    data_dir: pathlib.Path = pathlib.Path("/var/lib/edgeorch")
    run_dir: pathlib.Path = pathlib.Path("/run/edgeorch")
    log_dir: pathlib.Path = pathlib.Path("/var/log/pods")
    log_links_dir: pathlib.Path | None = None
    """Where log shippers find them by container; by default beside log_dir."""
    cgroup_root: str = "/edgeorch"
    cluster_domain: str = "cluster.local"
    dns_address: str = ""
    """Of the cluster's DNS; without it pods use the resolver of the device."""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    """Names, or prefixes that end with `*`."""
    crash_loop_ceiling: float = 300.0
    max_pods: int = 110
    reserved: Mapping[str, str] = field(default_factory=dict)
    """What pods may not ask for: quantities by resource, or shares like `10%`."""
    devices: Mapping[str, Selector] = field(default_factory=dict)
    pids_limit: int | None = None
    """Processes and threads of one pod."""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    snapshotter: str = "overlayfs"
    containerd_root: pathlib.Path | None = None
    """Where containerd keeps its state, to be mended when it is damaged; None: by nobody."""
    containerd_start: tuple[str, ...] = ()
    containerd_patience: float = 30.0
    images: ImageSettings = ImageSettings()
    pressure: pressure.Policy = field(default_factory=lambda: pressure.Policy(()))
    """When pods are put out for want of memory, room or processes."""
    pressure_interval: float = 10.0
    """Seconds between looks at that."""
    flash_daily_budget: int = 0
    """Bytes that may be written in a day; 0: any number."""
    log_max_bytes: int = 10 * 1024 * 1024
    log_max_files: int = 5
    log_total_max_bytes: int = 512 * 1024 * 1024

    @property
    def log_links(self) -> pathlib.Path:
        return self.log_links_dir or self.log_dir.parent / "containers"

    @property
    def seccomp_dir(self) -> pathlib.Path:
        """Profiles that pods name with localhostProfile."""
        return self.data_dir / "seccomp"

    @property
    def pods_dir(self) -> pathlib.Path:
        """What must outlive a reboot: emptyDir volumes, termination messages."""
        return self.data_dir / "pods"

    @property
    def sandboxes_dir(self) -> pathlib.Path:
        """What dies with the boot: on tmpfs, a shared mount, so that containerd sees it."""
        return self.run_dir / "pods"
