"""The keys of the configuration file, with their defaults."""

from __future__ import annotations

import ipaddress
import pathlib
import socket

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


RESERVED = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "10%"}
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
        return {**RESERVED, **said}


class ApiConfig(Section, frozen=True, kw_only=True):
    address: str = "0.0.0.0"
    """Where it listens. With an address of one link also on the loopback and on the bridge, and
    whether or not that link is up."""
    port: int = 6443
    kubeconfig: str = "/etc/edgeorch/kubeconfig.yaml"
    """Where the administrator's kubeconfig is written, mode 0600."""
    socket: str = ""
    """Root-only unix socket; by default RUN_DIR/api.sock."""


class HealthConfig(Section, frozen=True, kw_only=True):
    address: str = "127.0.0.1"
    port: int = 10248
    metrics: bool = False
    """Whether /metrics is shown there too, without credentials; at the API it needs the role
    metrics."""


class ContainerdConfig(Section, frozen=True, kw_only=True):
    address: str = "/run/containerd/containerd.sock"
    namespace: str = "edgeorch"
    snapshotter: str = "overlayfs"
    root: str = "/var/lib/containerd"
    """Where it keeps its state."""
    start_command: tuple[str, ...] = ("systemctl", "restart", "containerd")
    """Starts it again after its own state was found damaged and set aside; [] for never."""
    patience: float = 30.0
    """Seconds that it may be away before its state is looked at."""


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


class MemoryConfig(Section, frozen=True, kw_only=True):
    soft_limit: int = 60 * 1024 * 1024
    """Bytes of edgeorch's own memory (PSS) above which caches are dropped; 0: any amount."""


class FlashConfig(Section, frozen=True, kw_only=True):
    daily_budget: int = 1024 * 1024 * 1024
    """Bytes that edgeorch may write in a day, containers' logs among them. Above it statuses are
    written every ten minutes only, and a condition of the node tells; 0: any number."""


class StoreConfig(Section, frozen=True, kw_only=True):
    reserve_bytes: int = 8 * 1024 * 1024
    """Kept free in data_dir, so that on a full disk what makes room can still be done; 0: none."""
    backup_interval: float = 3600.0
    """Seconds between two copies of the store, which are made only after changes."""


EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


class EvictionConfig(Section, frozen=True, kw_only=True):
    """When pods are put out because the device runs short of something, as the kubelet does."""

    hard: dict[str, str | int] = {}
    """Amounts or shares by signal; below one of them a pod goes at once. Signals: memory.available,
    nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available.
    Unless said otherwise {memory.available: 100Mi, nodefs.available: 10%, nodefs.inodesFree: 5%,
    imagefs.available: 15%, imagefs.inodesFree: 5%}; 0 turns one off."""
    soft: dict[str, str | int] = {}
    """The same, for when it lasts: each also needs an entry in soft_grace_period."""
    soft_grace_period: dict[str, float] = {}
    """Seconds by signal."""
    minimum_reclaim: dict[str, str | int] = {}
    """How much more than that there is to be before no more pods go."""
    max_pod_grace_period: float = 0.0
    """Seconds at most that a pod has to end for a soft one."""
    pressure_transition_period: float = 300.0
    """Seconds that MemoryPressure, DiskPressure and PIDPressure last beyond their cause."""
    interval: float = 10.0
    """Seconds between looks."""

    @property
    def hard_amounts(self) -> dict[str, str]:
        """By signal; what is not said is as usual."""
        return {**EVICTION_HARD, **{name: str(amount) for name, amount in self.hard.items()}}

    @property
    def soft_amounts(self) -> dict[str, str]:
        return {name: str(amount) for name, amount in self.soft.items()}

    @property
    def reclaims(self) -> dict[str, str]:
        return {name: str(amount) for name, amount in self.minimum_reclaim.items()}


class UpdatesConfig(Section, frozen=True, kw_only=True):
    auto_rollback: bool = False
    """Go back by itself when a Deployment's rollout misses its deadline; a Deployment's annotation
    edgeorch.io/auto-rollback says otherwise."""
    health_url: str = ""
    """What must be reachable from here after a bundle has changed, or it goes back; a bundle's own
    healthURL goes before it. https is not verified."""
    trusted_keys: list[str] = []
    """PEM files of Ed25519 public keys; where there are any, only bundles are taken that one of
    them has signed."""
    hold_file: str = ""
    """Updates wait while this file is locked, or while there is a text in it; by default
    "hold/updates" in data_dir."""


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
    memory: MemoryConfig = MemoryConfig()
    flash: FlashConfig = FlashConfig()
    store: StoreConfig = StoreConfig()
    updates: UpdatesConfig = UpdatesConfig()
    eviction: EvictionConfig = EvictionConfig()
    cgroup_root: str = "/edgeorch"
    log_level: str = "info"

    @property
    def node_name(self) -> str:
        return self.node.name or socket.gethostname().lower()

    @property
    def preload_dir(self) -> pathlib.Path:
        return pathlib.Path(self.images.preload_dir or f"{self.data_dir}/images")

    @property
    def hold_file(self) -> pathlib.Path:
        return pathlib.Path(self.updates.hold_file or f"{self.data_dir}/hold/updates")

    @property
    def storage_dir(self) -> pathlib.Path:
        return pathlib.Path(self.storage.path or f"{self.data_dir}/storage")

    @property
    def log_links(self) -> pathlib.Path:
        return pathlib.Path(self.log_links_dir or pathlib.Path(self.log_dir).parent / "containers")

    @property
    def api_socket(self) -> pathlib.Path:
        return pathlib.Path(self.api.socket or f"{self.run_dir}/api.sock")


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
