"""Values of the configuration that no type can tell are wrong: the first is told with its fix."""

from __future__ import annotations

import ipaddress
import math
import re

from edgeorch.config.errors import ConfigError
from edgeorch.config.sections import (
    RESERVED,
    Config,
    ContainerdConfig,
    DeviceConfig,
    EvictionConfig,
    ImagesConfig,
    NetworkConfig,
    PodsConfig,
    RegistryConfig,
    UpdatesConfig,
)

_MOST_PARALLEL = 16
_LEAST_PAUSE = 1.0
_MIN_RATE = 1024
_REGISTRY = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:\d{1,5})?")
_MIRROR = re.compile(rf"(https?://)?{_REGISTRY.pattern}(/[-A-Za-z0-9._/]*)?")
_HTTP_URL = re.compile(r"https?://[^\s/@?#]+([/?#]\S*)?")
_MOST_RESERVED = 1 << 30
_MIN_LOG_BYTES = 4096
_MIN_LOG_FILES = 2
"""As the kubelet's containerLogMaxFiles: the one written and one before it."""
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*")
"""As containerd's identifiers."""


def check(config: Config) -> None:
    """Raises ConfigError."""
    if not _NODE_NAME.fullmatch(config.node_name):
        raise ConfigError(
            f'node.name: "{config.node_name}" is not a valid name: use lower case letters, digits, '
            '"-" and "."'
        )
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(
            f'log_level: "{config.log_level}" is not known: use debug, info, warning or error'
        )
    if not _NODE_NAME.fullmatch(config.dns.domain):
        raise ConfigError(f'dns.domain: "{config.dns.domain}" is not a domain: use cluster.local')
    if config.node.max_pods < 1:
        raise ConfigError(f"node.max_pods: {config.node.max_pods} is not possible: use 1 or more")
    _check_doors(config)
    _check_labels(config.node.labels)
    _check_reserved(config.node.reservations)
    _check_pods(config.pods)
    for name, device in config.devices.items():
        _check_device(name, device)
    for name, registry in config.registries.items():
        _check_registry(name, registry)
    _check_paths(config)
    _check_containerd(config.containerd)
    _check_images(config.images)
    if not config.store.backup_interval >= _LEAST_PAUSE:
        raise ConfigError(f"store.backup_interval: use {_LEAST_PAUSE:g} seconds or more")
    if config.memory.soft_limit < 0:
        raise ConfigError("memory.soft_limit: use 0 or more bytes")
    if config.flash.daily_budget < 0:
        raise ConfigError("flash.daily_budget: use 0 or more bytes")
    if not 0 <= config.store.reserve_bytes <= _MOST_RESERVED:
        raise ConfigError(f"store.reserve_bytes: use 0 to {_MOST_RESERVED}")
    _check_updates(config.updates)
    _check_network(config.network)
    _check_eviction(config.eviction)


def _check_doors(config: Config) -> None:
    """Addresses and ports that are listened on."""
    ports = (("api.port", config.api.port), ("health.port", config.health.port))
    for key, port in ports:
        if not 0 < port < 65536:
            raise ConfigError(f"{key}: {port} is not a port: use 1 to 65535")
    if config.api.port == config.health.port:
        raise ConfigError(f"health.port: {config.health.port} is api.port too: choose another")
    _address("api.address", config.api.address)
    _address("health.address", config.health.address)


def _check_paths(config: Config) -> None:
    paths = {
        "data_dir": config.data_dir,
        "run_dir": config.run_dir,
        "log_dir": config.log_dir,
        "log_links_dir": str(config.log_links),
        "cgroup_root": config.cgroup_root,
        "dns.resolv_conf": config.dns.resolv_conf,
        "storage.path": str(config.storage_dir),
        "api.kubeconfig": config.api.kubeconfig,
        "api.socket": str(config.api_socket),
        "containerd.address": config.containerd.address,
        "containerd.root": config.containerd.root,
        "updates.hold_file": str(config.hold_file),
        "images.preload_dir": str(config.preload_dir),
        "images.docker_config": config.images.docker_config,
    }
    for key, path in paths.items():
        if not path.startswith("/"):
            raise ConfigError(f"{key}: must be an absolute path, like /var/lib/edgeorch")
        if not path.isprintable():
            raise ConfigError(f"{key}: {path!r} has characters that are no good in a path")
    if ".." in config.cgroup_root.split("/"):
        raise ConfigError("cgroup_root: must not lead out of the cgroups with ..")


def _check_updates(updates: UpdatesConfig) -> None:
    for key in updates.trusted_keys:
        if not key.startswith("/"):
            raise ConfigError(f'updates.trusted_keys: "{key}" is not the absolute path of a file')
    if updates.health_url and not _HTTP_URL.fullmatch(updates.health_url):
        raise ConfigError(
            f'updates.health_url: "{updates.health_url}" is not a URL: '
            "write it like https://example.org/health"
        )


def _check_containerd(containerd: ContainerdConfig) -> None:
    if not 0 <= containerd.patience < math.inf:
        raise ConfigError("containerd.patience: use 0 seconds or more")
    for key in ("namespace", "snapshotter"):
        value = getattr(containerd, key)
        if not _IDENTIFIER.fullmatch(value):
            raise ConfigError(
                f'containerd.{key}: "{value}" is not a name: use letters and digits, with "-", "_" '
                'and "." between them'
            )


def _check_images(images: ImagesConfig) -> None:
    for key in ("parallel_pulls", "parallel_layers"):
        if not 1 <= getattr(images, key) <= _MOST_PARALLEL:
            raise ConfigError(f"images.{key}: use 1 to {_MOST_PARALLEL}")
    if images.max_bytes_per_second and images.max_bytes_per_second < _MIN_RATE:
        raise ConfigError(
            f"images.max_bytes_per_second: use {_MIN_RATE} or more, or 0 for no bound"
        )
    if not 1 <= images.stall_timeout < math.inf:
        raise ConfigError("images.stall_timeout: use 1 second or more")
    if not 0 <= images.gc_low_percent < images.gc_high_percent <= 100:
        raise ConfigError(
            f"images.gc_low_percent: {images.gc_low_percent} must be below gc_high_percent "
            f"({images.gc_high_percent}), both from 0 to 100; 100 as the high one turns it off"
        )
    if not 0 <= images.gc_min_age < math.inf:
        raise ConfigError("images.gc_min_age: use 0 seconds or more")


def _check_registry(name: str, settings: RegistryConfig) -> None:
    key = f"registries.{name}"
    if name != "*" and not _REGISTRY.fullmatch(name):
        raise ConfigError(
            f'{key}: name a registry as image names begin, like registry.example:5000, or "*"'
        )
    for mirror in settings.mirrors:
        if not _MIRROR.fullmatch(mirror):
            raise ConfigError(
                f'{key}.mirrors: "{mirror}" is not the URL of a registry: '
                "write it like https://mirror.example:5000"
            )
    if settings.ca and not settings.ca.startswith("/"):
        raise ConfigError(f"{key}.ca: must be the absolute path of a PEM file")
    if bool(settings.username) != bool(settings.password):
        raise ConfigError(f"{key}.password: username and password go together")
    if name == "*" and settings != RegistryConfig(mirrors=settings.mirrors):
        raise ConfigError(f"{key}: only mirrors may be set for all; name the registry for the rest")


_NAMESPACED = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net.")


def _check_pods(pods: PodsConfig) -> None:
    # Written so that not-a-number fails too.
    if not 1 <= pods.crash_loop_ceiling < math.inf:
        raise ConfigError("pods.crash_loop_ceiling: use 1 second or more")
    for name in pods.allowed_unsafe_sysctls:
        if not name.replace("/", ".").startswith(_NAMESPACED):
            raise ConfigError(
                f'pods.allowed_unsafe_sysctls: "{name}" belongs to no namespace of a pod: use '
                'names like kernel.msgmax or prefixes like "net.core.*"'
            )
    if pods.terminated_pod_gc_threshold < 0:
        raise ConfigError("pods.terminated_pod_gc_threshold: use 0 or more")
    if pods.pids_limit != -1 and pods.pids_limit < _MIN_PIDS:
        raise ConfigError(f"pods.pids_limit: use {_MIN_PIDS} or more, or -1 for any number")
    if pods.log_max_bytes < _MIN_LOG_BYTES:
        raise ConfigError(f"pods.log_max_bytes: use {_MIN_LOG_BYTES} or more")
    if pods.log_max_files < _MIN_LOG_FILES:
        raise ConfigError(f"pods.log_max_files: use {_MIN_LOG_FILES} or more")
    if pods.log_total_max_bytes < pods.log_max_bytes:
        raise ConfigError(
            f"pods.log_total_max_bytes: use pods.log_max_bytes ({pods.log_max_bytes}) or more"
        )


_DEVICE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,40}[A-Za-z0-9])?")
_USB = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}(:[^:]+)?")
_PERMISSIONS = re.compile(r"r?w?m?")


def _check_device(name: str, device: DeviceConfig) -> None:
    key = f"devices.{name}"
    if not _DEVICE_NAME.fullmatch(name):
        raise ConfigError(
            f'devices: "{name}" is not a name: use up to 42 letters, digits, "-", "_" and "."'
        )
    given = [field for field in ("paths", "group", "usb") if getattr(device, field)]
    if len(given) != 1:
        found = f"has {' and '.join(given)}" if given else "says of no device"
        raise ConfigError(f"{key}: {found}: use one of paths, group and usb")
    for field in ("paths", "group"):
        for path in getattr(device, field):
            if not path.startswith("/") or "/../" in f"{path}/":
                raise ConfigError(
                    f'{key}.{field}: "{path}": use an absolute path like /dev/ttyUSB0'
                )
    for text in device.usb_ids:
        if not _USB.fullmatch(text):
            raise ConfigError(
                f'{key}.usb: "{text}" is not known by lsusb: use "vendor:product" like "0403:6001"'
            )
    if not device.permissions or not _PERMISSIONS.fullmatch(device.permissions):
        raise ConfigError(f'{key}.permissions: "{device.permissions}": use some of rwm, in order')
    if device.container_path and not device.container_path.startswith("/"):
        raise ConfigError(f"{key}.container_path: must be an absolute path, like /dev/gps")
    if not 1 <= device.count <= _MOST_SHARES:
        raise ConfigError(f"{key}.count: {device.count} is not possible: use 1 to {_MOST_SHARES}")


_MOST_SHARES = 1000
_MIN_PIDS = 16
_AMOUNT = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?|\d{1,2}(\.\d+)?%")


def _check_reserved(reserved: dict[str, str]) -> None:
    for name, amount in reserved.items():
        if name not in RESERVED:
            known = ", ".join(RESERVED)
            raise ConfigError(f'node.reserved: "{name}" cannot be reserved: use {known}')
        if not _AMOUNT.fullmatch(amount):
            raise ConfigError(
                f'node.reserved: "{name}: {amount}" is no amount: use one like 100m, 128Mi or 10%'
            )


_SIGNALS = (
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
)


def _check_eviction(eviction: EvictionConfig) -> None:
    named = {
        "hard": eviction.hard_amounts,
        "soft": eviction.soft_amounts,
        "minimum_reclaim": eviction.reclaims,
        "soft_grace_period": dict.fromkeys(eviction.soft_grace_period, "0"),
    }
    for key, amounts in named.items():
        for signal, amount in amounts.items():
            if signal not in _SIGNALS:
                raise ConfigError(
                    f'eviction.{key}: "{signal}" is not known: use {", ".join(_SIGNALS)}'
                )
            if not _AMOUNT.fullmatch(amount):
                raise ConfigError(
                    f'eviction.{key}: "{signal}: {amount}" is no amount: use one like 100Mi or 10%'
                )
    for signal in eviction.soft:
        if signal not in eviction.soft_grace_period:
            raise ConfigError(f'eviction.soft_grace_period: "{signal}" is soft: say how long')
    # Written so that not-a-number fails too.
    seconds = {
        "max_pod_grace_period": eviction.max_pod_grace_period,
        "pressure_transition_period": eviction.pressure_transition_period,
    } | {f"soft_grace_period.{key}": each for key, each in eviction.soft_grace_period.items()}
    for key, period in seconds.items():
        if not 0 <= period < math.inf:
            raise ConfigError(f"eviction.{key}: use 0 seconds or more")
    if not 0.1 <= eviction.interval <= _LONGEST_INTERVAL:
        raise ConfigError(f"eviction.interval: use 0.1 to {_LONGEST_INTERVAL} seconds")


_LONGEST_INTERVAL = 300
_LABEL = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}")
_LABEL_VALUE = re.compile(rf"{_LABEL}?")


def _check_labels(labels: dict[str, str]) -> None:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise ConfigError(
                f'node.labels: "{key}: {value}" is not a label: use up to 63 letters, '
                'digits, "-", "_" and "."'
            )


def _address(key: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}: use 0.0.0.0 for all of the device's") from error


def _check_network(network: NetworkConfig) -> None:
    pods = _cidr("network.pod_cidr", network.pod_cidr)
    services = _cidr("network.service_cidr", network.service_cidr)
    if pods.overlaps(services):
        raise ConfigError(
            f"network.service_cidr: {services} overlaps network.pod_cidr {pods}: choose another"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,14}", network.bridge):
        raise ConfigError(
            f'network.bridge: "{network.bridge}" is not an interface name: up to 15 letters, digits'
        )
    ports = re.fullmatch(r"(\d{1,5})-(\d{1,5})", network.node_ports)
    if ports is None or not 0 < int(ports[1]) <= int(ports[2]) < 65536:
        raise ConfigError(
            f'network.node_ports: "{network.node_ports}" is not a range: use 30000-32767'
        )
    try:
        _ = network.balancer_ranges
    except ValueError as error:
        raise ConfigError(
            f"network.load_balancer_pool: {error}: write it like 192.168.1.240-192.168.1.250"
        ) from error
    if network.node_address:
        try:
            ipaddress.IPv4Address(network.node_address)
        except ValueError as error:
            raise ConfigError(f"network.node_address: {error}") from error


def _cidr(key: str, text: str) -> ipaddress.IPv4Network:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}: write it like 10.42.0.0/24") from error
    if not 8 <= found.prefixlen <= 28:
        raise ConfigError(f"{key}: {text} must have a prefix length from /8 to /28")
    return found
