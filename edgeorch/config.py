"""The configuration file: /etc/edgeorch/config.yaml.

Every key has a default, so an empty file is a good one. A key that is not known is an error that
names it, so that a typing slip never passes for a setting. Parsing is pure; `load` reads the file.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import pathlib
import re
import socket
from typing import Any

import msgspec

DEFAULT_PATH = pathlib.Path("/etc/edgeorch/config.yaml")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the key and the fix."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


_RESERVED = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "10%"}
"""edgeorch takes up to 64 MiB, containerd as much, with a shim for each pod beside them."""


class NodeConfig(Section, frozen=True, kw_only=True):
    name: str = ""
    """Node name; by default the host name in lower case."""
    max_pods: int = 110
    labels: dict[str, str] = {}
    reserved: dict[str, str | int | float] = {}
    """For the system, containerd and edgeorch: pods get the rest. Amounts, or shares like 10%;
    unless said otherwise {cpu: 100m, memory: 128Mi, ephemeral-storage: 10%}."""

    @property
    def reservations(self) -> dict[str, str]:
        """By resource; what is not said is as usual."""
        said = {name.replace("_", "-"): str(amount) for name, amount in self.reserved.items()}
        return {**_RESERVED, **said}


class ApiConfig(Section, frozen=True, kw_only=True):
    address: str = "0.0.0.0"
    port: int = 6443
    kubeconfig: str = "/etc/edgeorch/kubeconfig.yaml"
    """Where the administrator's kubeconfig is written, mode 0600."""
    socket: str = ""
    """Root-only unix socket; by default RUN_DIR/api.sock."""


class HealthConfig(Section, frozen=True, kw_only=True):
    address: str = "127.0.0.1"
    port: int = 10248


class ContainerdConfig(Section, frozen=True, kw_only=True):
    address: str = "/run/containerd/containerd.sock"
    namespace: str = "edgeorch"
    snapshotter: str = "overlayfs"


class NetworkConfig(Section, frozen=True, kw_only=True):
    bridge: str = "edgeorch0"
    pod_cidr: str = "10.42.0.0/24"
    service_cidr: str = "10.43.0.0/16"
    node_ports: str = "30000-32767"
    node_address: str = ""
    """The node's InternalIP; by default the address of the uplink, followed as it changes."""

    load_balancer_pool: list[str] = []
    """Extra addresses for Services of type LoadBalancer, as CIDRs or first-last; announced by ARP
    on the uplinks. Empty: they get the device's own addresses."""

    @property
    def balancer_ranges(self) -> list[tuple[str, str]]:
        """First and last address of each range, both included. Raises ValueError."""
        return [_address_range(text) for text in self.load_balancer_pool]

    @property
    def node_port_range(self) -> tuple[int, int]:
        """First and last port, both included."""
        first, last = self.node_ports.split("-")
        return int(first), int(last)


class DnsConfig(Section, frozen=True, kw_only=True):
    domain: str = "cluster.local"
    """The zone that Services and pods have their names in."""
    resolv_conf: str = "/etc/resolv.conf"
    """Names the resolvers that are asked for everything else; followed as it changes."""


class DeviceConfig(Section, frozen=True, kw_only=True):
    """One of `paths`, `group` and `usb` says where the device is."""

    paths: list[str] = []
    """Device nodes, also by pattern; each is a device of its own."""
    group: list[str] = []
    """Device nodes that make one device together; it is there when all of them are."""
    usb: str | list[str] = []
    """vendor:product or vendor:product:serial, as lsusb shows them."""
    container_path: str = ""
    """Where it appears in the container; by default where it is on the device."""
    permissions: str = "rw"
    count: int = 1
    """How many containers may use each at the same time."""

    @property
    def usb_ids(self) -> list[str]:
        return [self.usb] if isinstance(self.usb, str) else self.usb


class PodsConfig(Section, frozen=True, kw_only=True):
    crash_loop_ceiling: float = 300.0
    """Longest back-off between restarts of a failing container, seconds."""
    terminated_pod_gc_threshold: int = 100
    """How many pods that are over are kept, the newest; 0: all of them."""
    log_max_bytes: int = 10 * 1024 * 1024
    log_max_files: int = 5
    log_total_max_bytes: int = 512 * 1024 * 1024
    """All containers' logs together: above it, the oldest of the biggest are removed."""
    pids_limit: int = 4096
    """How many processes and threads a pod may have, lest one takes them all; -1: any number."""
    allowed_unsafe_sysctls: list[str] = []
    """Kernel parameters that pods may set besides the safe ones; `*` ends a prefix."""


class ImagesConfig(Section, frozen=True, kw_only=True):
    preload_dir: str = ""
    """Archives in it are imported by themselves; by default the folder images in data_dir."""
    docker_config: str = "/etc/edgeorch/docker-config.json"
    """Credentials for every pod, in the form of Docker's config.json; read when needed."""
    parallel_pulls: int = 2
    """How many images are pulled at once; the others wait."""
    parallel_layers: int = 3
    """How many layers of an image are fetched at once."""
    max_bytes_per_second: int = 0
    """What all pulls together may take of the link; 0: all there is."""
    stall_timeout: float = 30.0
    """Seconds without a byte after which a transfer is begun anew from where it stands."""
    gc_high_percent: int = 85
    """From this share of the image file system on, images that nobody wants are removed."""
    gc_low_percent: int = 80
    """Down to this share."""
    gc_min_age: float = 120.0
    """Seconds that an image is here before it may be removed."""


class RegistryConfig(Section, frozen=True, kw_only=True):
    """How one registry, or one mirror, is reached."""

    mirrors: list[str] = []
    ca: str = ""
    plain_http: bool = False
    insecure_skip_verify: bool = False
    username: str = ""
    password: str = ""
    identity_token: str = ""


class StorageConfig(Section, frozen=True, kw_only=True):
    path: str = ""
    """Where the data of PersistentVolumes of class local-path lies; by default DATA_DIR/storage."""


class UpdatesConfig(Section, frozen=True, kw_only=True):
    auto_rollback: bool = False
    """Go back by itself when a Deployment's rollout misses its deadline; a Deployment's annotation
    edgeorch.io/auto-rollback says otherwise."""


class Config(Section, frozen=True, kw_only=True):
    node: NodeConfig = NodeConfig()
    data_dir: str = "/var/lib/edgeorch"
    run_dir: str = "/run/edgeorch"
    log_dir: str = "/var/log/pods"
    log_links_dir: str = ""
    """Links to the logs by pod and container, for log shippers; by default "containers" beside
    log_dir, which is /var/log/containers."""
    api: ApiConfig = ApiConfig()
    health: HealthConfig = HealthConfig()
    containerd: ContainerdConfig = ContainerdConfig()
    network: NetworkConfig = NetworkConfig()
    dns: DnsConfig = DnsConfig()
    pods: PodsConfig = PodsConfig()
    devices: dict[str, DeviceConfig] = {}
    images: ImagesConfig = ImagesConfig()
    registries: dict[str, RegistryConfig] = {}
    """By host[:port], as image names begin; docker.io is the Hub, "*" every other. For each:
    mirrors (URLs, asked in order before it), ca (file), plain_http, insecure_skip_verify, username,
    password, identity_token. Like {"docker.io": {"mirrors": ["https://mirror.example:5000"]}}"""
    storage: StorageConfig = StorageConfig()
    updates: UpdatesConfig = UpdatesConfig()
    cgroup_root: str = "/edgeorch"
    log_level: str = "info"

    @property
    def node_name(self) -> str:
        return self.node.name or socket.gethostname().lower()

    @property
    def preload_dir(self) -> pathlib.Path:
        return pathlib.Path(self.images.preload_dir or f"{self.data_dir}/images")

    @property
    def storage_dir(self) -> pathlib.Path:
        return pathlib.Path(self.storage.path or f"{self.data_dir}/storage")

    @property
    def log_links(self) -> pathlib.Path:
        return pathlib.Path(self.log_links_dir or pathlib.Path(self.log_dir).parent / "containers")

    @property
    def api_socket(self) -> pathlib.Path:
        return pathlib.Path(self.api.socket or f"{self.run_dir}/api.sock")


def load(path: pathlib.Path | None) -> Config:
    """The configuration at `path`; without one, the default file if it is there.

    Raises ConfigError.
    """
    chosen = path or DEFAULT_PATH
    try:
        text = chosen.read_text()
    except FileNotFoundError:
        if path is None:
            return parse("")
        raise ConfigError(f"cannot read {chosen}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {chosen}: {error}") from error
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{chosen}: {error}") from error


def parse(text: str) -> Config:
    """Raises ConfigError."""
    import yaml  # 1 MB that most starts do not need for long

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError("the file must hold keys and values, like `log_level: info`")
    _check_registries(document.get("registries"))
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error))) from error
    _check(config)
    return config


def _explain(message: str, above: str = "", known: list[str] | None = None) -> str:
    """msgspec's words with the key written as one would write it in the file."""
    text, _, place = message.partition(" - at `$")
    place = ".".join(filter(None, (above, place.rstrip("`").lstrip("."))))
    known = known or _known_keys()
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown is None:
        return f"{place}: {text[0].lower()}{text[1:]}" if place else text
    key = unknown.group(1)
    full = f"{place}.{key}" if place else key
    near = difflib.get_close_matches(full, known, n=1)
    hint = f' (did you mean "{near[0]}"?)' if near else f"; known keys: {', '.join(known)}"
    return f'unknown key "{full}"{hint}'


def _known_keys() -> list[str]:
    found = []
    for field in msgspec.structs.fields(Config):
        inner: Any = field.type
        if isinstance(inner, type) and issubclass(inner, Section):
            found += [f"{field.name}.{sub.name}" for sub in msgspec.structs.fields(inner)]
        else:
            found.append(field.name)
    return found


_MOST_PARALLEL = 16
_MIN_RATE = 1024
_REGISTRY = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:\d{1,5})?")
_MIRROR = re.compile(rf"(https?://)?{_REGISTRY.pattern}(/[-A-Za-z0-9._/]*)?")
_MIN_LOG_BYTES = 4096
_MIN_LOG_FILES = 2
"""As the kubelet's containerLogMaxFiles: the one written and one before it."""
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def _check(config: Config) -> None:
    if not _NODE_NAME.fullmatch(config.node_name):
        raise ConfigError(
            f'node.name: "{config.node_name}" is not a valid name: use lower case letters, digits, '
            '"-" and "."'
        )
    for key, port in (("api.port", config.api.port), ("health.port", config.health.port)):
        if not 0 < port < 65536:
            raise ConfigError(f"{key}: {port} is not a port: use 1 to 65535")
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(
            f'log_level: "{config.log_level}" is not known: use debug, info, warning or error'
        )
    if not _NODE_NAME.fullmatch(config.dns.domain):
        raise ConfigError(f'dns.domain: "{config.dns.domain}" is not a domain: use cluster.local')
    if config.node.max_pods < 1:
        raise ConfigError(f"node.max_pods: {config.node.max_pods} is not possible: use 1 or more")
    if config.api.port == config.health.port:
        raise ConfigError(f"health.port: {config.health.port} is api.port too: choose another")
    for key, address in (
        ("api.address", config.api.address),
        ("health.address", config.health.address),
    ):
        _address(key, address)
    _check_labels(config.node.labels)
    _check_reserved(config.node.reservations)
    _check_pods(config.pods)
    for name, device in config.devices.items():
        _check_device(name, device)
    paths = {
        "data_dir": config.data_dir,
        "run_dir": config.run_dir,
        "log_dir": config.log_dir,
        "log_links_dir": str(config.log_links),
        "cgroup_root": config.cgroup_root,
        "dns.resolv_conf": config.dns.resolv_conf,
        "storage.path": str(config.storage_dir),
    }
    for key, path in paths.items():
        if not path.startswith("/"):
            raise ConfigError(f"{key}: must be an absolute path, like /var/lib/edgeorch")
    _check_images(config.images)
    _check_network(config.network)


def _check_images(images: ImagesConfig) -> None:
    for key, path in (
        ("preload_dir", images.preload_dir or "/"),
        ("docker_config", images.docker_config),
    ):
        if not path.startswith("/"):
            raise ConfigError(f"images.{key}: must be an absolute path")
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


def _check_registries(found: Any) -> None:
    """Each entry by itself, so that an error names the registry. Raises ConfigError."""
    for name, entry in found.items() if isinstance(found, dict) else ():
        key = f"registries.{name}"
        if name != "*" and not _REGISTRY.fullmatch(str(name)):
            raise ConfigError(
                f'{key}: name a registry as image names begin, like registry.example:5000, or "*"'
            )
        try:
            settings = msgspec.convert(entry, RegistryConfig)
        except msgspec.ValidationError as error:
            known = [f"{key}.{sub.name}" for sub in msgspec.structs.fields(RegistryConfig)]
            raise ConfigError(_explain(str(error), key, known)) from error
        _check_registry(key, settings)


def _check_registry(key: str, settings: RegistryConfig) -> None:
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
    if key == "registries.*" and settings != RegistryConfig(mirrors=settings.mirrors):
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
        if name not in _RESERVED:
            known = ", ".join(_RESERVED)
            raise ConfigError(f'node.reserved: "{name}" cannot be reserved: use {known}')
        if not _AMOUNT.fullmatch(amount):
            raise ConfigError(
                f'node.reserved: "{name}: {amount}" is no amount: use one like 100m, 128Mi or 10%'
            )


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


def _address_range(text: str) -> tuple[str, str]:
    first, dash, last = (part.strip() for part in text.partition("-"))
    if dash:
        low, high = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
        if low > high:
            raise ValueError(f"{text} ends before it begins")
        return str(low), str(high)
    network = ipaddress.IPv4Network(first)
    edge = 1 if network.prefixlen < 31 else 0
    return str(network.network_address + edge), str(network.broadcast_address - edge)


def _cidr(key: str, text: str) -> ipaddress.IPv4Network:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}: write it like 10.42.0.0/24") from error
    if not 8 <= found.prefixlen <= 28:
        raise ConfigError(f"{key}: {text} must have a prefix length from /8 to /28")
    return found
