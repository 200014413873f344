"""What the node agent is told at start."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.core import pressure
from edgeorch.core.devices import Selector

if TYPE_CHECKING:
    from edgeorch import config as configuration
    from edgeorch.config import sections


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


def of(config: configuration.Config, *, dns_address: str) -> Settings:
    """As the device is configured."""
    return Settings(
        node_name=config.node_name,
        data_dir=pathlib.Path(config.data_dir),
        run_dir=pathlib.Path(config.run_dir),
        log_dir=pathlib.Path(config.log_dir),
        log_links_dir=config.log_links,
        cgroup_root=config.cgroup_root,
        cluster_domain=config.dns.domain,
        dns_address=dns_address,
        allowed_unsafe_sysctls=tuple(config.pods.allowed_unsafe_sysctls),
        crash_loop_ceiling=config.pods.crash_loop_ceiling,
        max_pods=config.node.max_pods,
        reserved=config.node.reservations,
        devices={name: _selector(each) for name, each in config.devices.items()},
        pids_limit=config.pods.pids_limit if config.pods.pids_limit > 0 else None,
        node_labels=config.node.labels,
        snapshotter=config.containerd.snapshotter,
        containerd_root=pathlib.Path(config.containerd.root)
        if config.containerd.start_command
        else None,
        containerd_start=tuple(config.containerd.start_command),
        containerd_patience=config.containerd.patience,
        images=ImageSettings(
            preload_dir=config.preload_dir,
            parallel_pulls=config.images.parallel_pulls,
            gc_high_percent=config.images.gc_high_percent,
            gc_low_percent=config.images.gc_low_percent,
            gc_min_age=config.images.gc_min_age,
        ),
        pressure=_pressure(config.eviction),
        pressure_interval=config.eviction.interval,
        flash_daily_budget=config.flash.daily_budget,
        log_max_bytes=config.pods.log_max_bytes,
        log_max_files=config.pods.log_max_files,
        log_total_max_bytes=config.pods.log_total_max_bytes,
    )


def _selector(told: sections.DeviceConfig) -> Selector:
    return Selector(
        paths=tuple(told.paths),
        group=tuple(told.group),
        usb=tuple(told.usb_ids),
        container_path=told.container_path,
        permissions=told.permissions,
        count=told.count,
    )


def _pressure(told: sections.EvictionConfig) -> pressure.Policy:
    return pressure.policy(
        told.hard_amounts,
        told.soft_amounts,
        told.soft_grace_period,
        told.reclaims,
        transition=told.pressure_transition_period,
        max_pod_grace=told.max_pod_grace_period,
    )
