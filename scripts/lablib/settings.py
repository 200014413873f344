"""The configurations a device's programs get: pure values and texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .device import Device, LabError

Settings = dict[str, Any]

NAMESPACE = "edgeorch"
LAB = Path(__file__).resolve().parent.parent / "lab"

# `down` and `exec` find things by these, so a device may not move them.
FIXED = (
    ("data_dir",),
    ("run_dir",),
    ("log_dir",),
    ("cgroup_root",),
    ("containerd", "address"),
    ("containerd", "namespace"),
    ("api", "kubeconfig"),
)

# Whatever puts pods out by default.
SIGNALS = (
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
)

# Plugins that only look around on the host, or that keep a timer or a directory outside the
# device. A name that a containerd does not know is ignored.
DISABLED_PLUGINS = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.nri.v1.nri",
    "io.containerd.podsandbox.controller.v1.podsandbox",
)


def edgeorch_settings(device: Device) -> Settings:
    return {
        "node": {"name": device.name},
        "data_dir": str(device.data / "edgeorch"),
        "run_dir": str(device.run / "edgeorch"),
        "log_dir": str(device.data / "pods"),
        "api": {"address": "0.0.0.0", "port": 6443, "kubeconfig": str(device.kubeconfig)},
        "health": {"address": "127.0.0.1", "port": 10248},
        "containerd": {
            "address": str(device.containerd_socket),
            "namespace": NAMESPACE,
            "root": str(device.data / "containerd"),
            "start_command": [sys.executable, str(LAB), "containerd", device.name, "start"],
        },
        "network": {
            "bridge": "edgeorch0",
            "pod_cidr": "10.42.0.0/24",
            "service_cidr": "10.43.0.0/16",
            "node_ports": "30000-32767",
        },
        "cgroup_root": device.cgroup,
        # How full this machine is is none of the device's concern.
        "eviction": {"hard": dict.fromkeys(SIGNALS, 0)},
    }


def merged(base: Settings, over: Settings) -> Settings:
    """`over` wins; mappings merge key by key, everything else is replaced whole."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        both = isinstance(mine, dict) and isinstance(value, dict)
        result[key] = merged(mine, value) if both else value  # type: ignore[arg-type]
    return result


def checked_override(over: object) -> Settings:
    """The content of a --config file, refused where it would hide the device from `down`."""
    if over is None:
        return {}
    if not isinstance(over, dict):
        raise LabError("cannot use the --config file: it is not a mapping of keys")
    for path in FIXED:
        value: object = over
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            raise LabError(f"cannot set {'.'.join(path)} in --config: the lab decides it")
    return over


def containerd_toml(device: Device) -> str:
    """Version 2 of the format, which 1.6, 1.7 and 2.x all read."""
    disabled = "".join(f'  "{plugin}",\n' for plugin in DISABLED_PLUGINS)
    return (
        "version = 2\n"
        f'root = "{device.data / "containerd"}"\n'
        f'state = "{device.containerd_state}"\n'
        f"disabled_plugins = [\n{disabled}]\n\n"
        "[grpc]\n"
        f'  address = "{device.containerd_socket}"\n\n'
        "[ttrpc]\n"
        f'  address = "{device.containerd_socket}.ttrpc"\n\n'
        "[debug]\n"
        '  level = "info"\n'
    )
