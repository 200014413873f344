"""The OCI runtime spec of one container, as runc reads it.

Everything that had to be looked up (paths, user, environment, the machine) comes in as values.
Defaults follow containerd's CRI plugin, so that images behave as they do under Kubernetes.

Source: opencontainers/runtime-spec config.md and config-linux.md (1.0.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field, structs

from edgeorch.core import cgroups
from edgeorch.model import views
from edgeorch.model.kinds import Object

OCI_VERSION = "1.0.2"
SHIM_GROUP = "io.containerd.runc.v2.group"
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
_MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class SpecError(Exception):
    """The container cannot be described: CreateContainerError."""


class Image(Struct, frozen=True):
    """What the image wants to run as."""

    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Sequence[str] = ()
    working_dir: str = ""


class User(Struct, frozen=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


class Mount(Struct, frozen=True):
    """A bind mount. `recursive`: read-only with all that is mounted below it (Linux 5.12)."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = False
    no_exec: bool = False


class Device(Struct, frozen=True):
    path: str
    type: str
    major: int
    minor: int
    mode: int
    uid: int = 0
    gid: int = 0
    access: str = "rwm"
    """What the container may do with it: read, write, make nodes."""


def placed(device: Device, path: str) -> Device:
    """The same at another path in the container; "" where it comes as a mount."""
    return structs.replace(device, path=path)


class Machine(Struct, frozen=True):
    """What the kernel gives."""

    cgroup_v2: bool
    capabilities: tuple[str, ...]
    """All that a privileged container gets: those of containerd's bounding set."""
    devices: tuple[Device, ...] = ()
    swap_control: bool = False
    """Whether memory.swap.max is there (cgroup v2)."""
    hugetlb: bool = False
    """Whether huge pages are counted."""
    memory: bool = True
    """Whether memory is: runc refuses a limit that it cannot set."""


class Surroundings(Struct, frozen=True):
    """What the sandbox gives. An empty path is the host's own namespace."""

    pod_uid: str
    hostname: str
    cgroups_path: str
    network: str = ""
    ipc: str = ""
    pid: str = ""
    """A PID namespace to share, another container's or the pod's; empty for one of its own."""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    mounts: tuple[Mount, ...] = ()
    oom_score_adj: int = 0
    seccomp: Object | None = None
    """The filter; None: no filter."""
    apparmor: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    """That the container was given; without a path it is there already."""


def build(
    container: views.Container,
    image: Image,
    env: Mapping[str, str],
    user: User,
    around: Surroundings,
    machine: Machine,
) -> Object:
    """`env` has its references resolved. Raises SpecError."""
    security = container.security_context or views.ContainerSecurity()
    return {
        "ociVersion": OCI_VERSION,
        "process": _process(container, image, env, user, around, machine),
        "root": {"path": "rootfs", "readonly": security.read_only_root_filesystem},
        **({} if around.host_network else {"hostname": around.hostname}),
        "mounts": [*_system_mounts(security, around), *_binds(around.mounts)],
        "linux": _linux(container, around, machine),
        "annotations": {SHIM_GROUP: around.pod_uid, **around.annotations},
    }


def _process(
    container: views.Container,
    image: Image,
    env: Mapping[str, str],
    user: User,
    around: Surroundings,
    machine: Machine,
) -> Object:
    security = container.security_context or views.ContainerSecurity()
    held = capabilities(security, machine)
    escalates = security.allow_privilege_escalation is not False or security.privileged
    return {
        "terminal": container.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": _args(container, image),
        "env": _environment(container, image, env, around),
        "cwd": container.working_dir or image.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        "noNewPrivileges": not escalates,
        **({"apparmorProfile": around.apparmor} if around.apparmor else {}),
        "oomScoreAdj": around.oom_score_adj,
    }


def _args(container: views.Container, image: Image) -> list[str]:
    """`command` replaces the entrypoint and drops the image's arguments, `args` replaces those."""
    entrypoint = list(container.command or image.entrypoint)
    cmd = list(container.args)
    if not container.args and not container.command:
        cmd = list(image.cmd)
    args = entrypoint + cmd
    if not args:
        raise SpecError("no command specified")
    return args


def _environment(
    container: views.Container, image: Image, env: Mapping[str, str], around: Surroundings
) -> list[str]:
    found = {"PATH": DEFAULT_PATH.partition("=")[2], "HOSTNAME": around.hostname}
    if container.tty:
        found["TERM"] = "xterm"
    for entry in image.env:
        name, _, value = entry.partition("=")
        found[name] = value
    found.update(env)
    return [f"{name}={value}" for name, value in found.items()]


def capabilities(security: views.ContainerSecurity, machine: Machine) -> list[str]:
    if security.privileged:
        return list(machine.capabilities)
    held = dict.fromkeys(DEFAULT_CAPABILITIES)
    change = security.capabilities or views.Capabilities()
    drop, add = [_full(name) for name in change.drop], [_full(name) for name in change.add]
    if "CAP_ALL" in drop:
        held.clear()
    if "CAP_ALL" in add:
        held = dict.fromkeys(machine.capabilities)
    for name in add:
        if name != "CAP_ALL":
            held[name] = None
    for name in drop:
        held.pop(name, None)
    return list(held)


def _full(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"


# --- mounts -------------------------------------------------------------------------------------


def _system_mounts(security: views.ContainerSecurity, around: Surroundings) -> list[Object]:
    access = "rw" if security.privileged else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
        _mount("/sys", "sysfs", "sysfs", [*quiet, access]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, "relatime", access]),
    ]


def _mount(target: str, kind: str, source: str, options: list[str]) -> Object:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _binds(mounts: Sequence[Mount]) -> list[Object]:
    """Outer folders before what lies in them; a later mount of one place wins."""
    by_target = {mount.target.rstrip("/") or "/": mount for mount in mounts}
    ordered = sorted(by_target.values(), key=lambda mount: mount.target.rstrip("/").count("/"))
    return [_bind(mount) for mount in ordered]


def _bind(mount: Mount) -> Object:
    read_only = "rro" if mount.recursive else "ro"
    options = ["rbind", mount.propagation, read_only if mount.read_only else "rw"]
    options += ["noexec"] if mount.no_exec else []
    return _mount(mount.target, "bind", mount.source, options)


# --- linux --------------------------------------------------------------------------------------


def _linux(container: views.Container, around: Surroundings, machine: Machine) -> Object:
    security = container.security_context or views.ContainerSecurity()
    found: Object = {
        "resources": _resources(container, machine, around, privileged=security.privileged),
        "cgroupsPath": around.cgroups_path,
        "namespaces": _namespaces(around, machine),
    }
    nodes = machine.devices if security.privileged else ()
    by_path = {device.path: device for device in (*nodes, *around.devices) if device.path}
    if by_path or security.privileged:
        found["devices"] = [_device(device) for device in by_path.values()]
    if security.privileged:
        found["rootfsPropagation"] = "rslave"
    elif security.proc_mount != "Unmasked":
        found["maskedPaths"] = list(_MASKED)
        found["readonlyPaths"] = list(_READ_ONLY)
    if around.seccomp is not None:
        found["seccomp"] = around.seccomp
    if any(mount.propagation in ("rslave", "rshared") for mount in around.mounts):
        found["rootfsPropagation"] = "rslave"
    if any(mount.propagation == "rshared" for mount in around.mounts):
        found["rootfsPropagation"] = "rshared"
    return found


def _namespaces(around: Surroundings, machine: Machine) -> list[Object]:
    found: list[Object] = [{"type": "mount"}]
    if not around.host_pid:
        found.append({"type": "pid", **({"path": around.pid} if around.pid else {})})
    if not around.host_ipc:
        found.append({"type": "ipc", **({"path": around.ipc} if around.ipc else {})})
    if not around.host_network:
        found.append({"type": "uts"})
        found.append({"type": "network", "path": around.network})
    if machine.cgroup_v2:
        found.append({"type": "cgroup"})
    return found


def _resources(
    container: views.Container, machine: Machine, around: Surroundings, *, privileged: bool
) -> Object:
    limits = cgroups.container_limits(container.resources)
    cpu: dict[str, Any] = {"shares": limits.cpu_shares, "period": cgroups.PERIOD_US}
    if limits.cpu_quota_us is not None:
        cpu["quota"] = limits.cpu_quota_us
    found: Object = {
        "devices": [
            {"allow": privileged, "access": "rwm"},
            *(_rule(device) for device in around.devices if not privileged),
        ],
        "cpu": cpu,
    }
    bounded = machine.memory and limits.memory_bytes is not None
    if bounded:
        found["memory"] = {"limit": limits.memory_bytes}
    if machine.hugetlb and (pages := cgroups.huge_pages(container.resources)):
        found["hugepageLimits"] = [{"pageSize": size, "limit": most} for size, most in pages]
    if unified := _unified(machine, memory_bounded=bounded):
        found["unified"] = unified
    return found


def _unified(machine: Machine, *, memory_bounded: bool) -> dict[str, str]:
    """Files of cgroup v2 that have no other name in the runtime spec."""
    found = {}
    if machine.cgroup_v2 and memory_bounded:
        # One process of a container out of memory takes the others with it.
        found["memory.oom.group"] = "1"
    if machine.swap_control:
        # The kubelet's NoSwap: a limit is a limit, and nothing of a pod wears the card out.
        found["memory.swap.max"] = "0"
    return found


def _rule(device: Device) -> Object:
    return {
        "allow": True,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "access": device.access,
    }


def _device(device: Device) -> Object:
    return {
        "path": device.path,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }
