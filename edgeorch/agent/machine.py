"""The machine beneath: its boot, memory, capabilities, and its cgroup tree.

Read once at start, but for the cgroups, which are made and removed here for whole pods (runc makes
those of containers below them). Sources: proc(5), cgroups(7), cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import platform
import re
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from edgeorch.core import cgroups, node_resources, oci_spec, qos
from edgeorch.lib import boots, cgroupfs

_CGROUP = cgroupfs.ROOT
_PROC = pathlib.Path("/proc")
_DEV = pathlib.Path("/dev")
_OWN_OF_CONTAINERS = frozenset({"pts", "shm", "mqueue", "fd", "console", "ptmx", ".udev"})
"""As in containerd's oci.HostDevices."""
_CONTROLLERS = ("cpu", "memory", "pids", "hugetlb")
_HUGE_PAGES = pathlib.Path("/sys/kernel/mm/hugepages")

_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
_REMOVE_SECONDS = 5.0
_SYS_RESOURCE = 24
_CREDENTIALS = "3i"
"""struct ucred: pid, uid, gid."""


class Facts(Struct, frozen=True):
    boot_id: str
    machine_id: str
    system_uuid: str
    kernel: str
    os_image: str
    architecture: str
    cpus: int
    memory_bytes: int
    cgroup_v2: bool
    memory_cgroup: bool
    seccomp: bool = True
    """Whether the kernel filters system calls."""
    swap_control: bool = False
    """Whether cgroup v2 counts swap (CONFIG_SWAP, not swapaccount=0)."""
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    """Number of pages by their size in bytes."""
    hugetlb_cgroup: bool = False


class Parent(Struct, frozen=True):
    """What a container can be given at most: it descends from containerd, not from this process,
    which systemd holds on a shorter leash."""

    capabilities: tuple[str, ...]
    oom_floor: int
    """The lowest oom_score_adj it may set."""


def parent(socket_path: str) -> Parent:
    """Of the process that listens on `socket_path`; while it cannot be asked, like our own."""
    process = _PROC / _listener(socket_path)
    status = _status(process)
    bounding = int(status.get("CapBnd", "0"), 16)
    effective = int(status.get("CapEff", "0"), 16)
    own_score = int(_text(process / "oom_score_adj") or 0)
    return Parent(
        capabilities=tuple(
            f"CAP_{name}" for bit, name in enumerate(_CAPABILITIES) if bounding & 1 << bit
        ),
        oom_floor=-1000 if effective & 1 << _SYS_RESOURCE else own_score,
    )


def _listener(socket_path: str) -> str:
    """Its entry in /proc: SO_PEERCRED names who called listen(2) (unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(socket_path)
            raw = asking.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS)
            )
        except OSError:
            return "self"
    pid, _, _ = struct.unpack(_CREDENTIALS, raw)
    return str(pid) if pid else "self"


def read() -> Facts:
    return Facts(
        boot_id=boots.boot_id(),
        machine_id=_text(pathlib.Path("/etc/machine-id")),
        system_uuid=_text(pathlib.Path("/sys/class/dmi/id/product_uuid"))
        or _text(pathlib.Path("/etc/machine-id")),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture={"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(
            platform.machine(), platform.machine()
        ),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_v2=cgroupfs.is_unified(),
        memory_cgroup="memory" in cgroupfs.controllers(),
        seccomp=(_PROC / "sys/kernel/seccomp/actions_avail").exists(),
        swap_control=cgroupfs.is_unified() and _counts_swap(),
        huge_pages=dict(_pools(_HUGE_PAGES)),
        hugetlb_cgroup="hugetlb" in cgroupfs.controllers(),
    )


def _pools(folder: pathlib.Path) -> Iterator[tuple[int, int]]:
    """Size and number (Documentation/admin-guide/mm/hugetlbpage.rst)."""
    for entry in _entries(folder):
        size = re.fullmatch(r"hugepages-(\d+)kB", entry.name)
        if size is not None:
            yield int(size[1]) * 1024, int(_text(folder / entry.name / "nr_hugepages") or 0)


def allocatable(facts: Facts, reserved: Mapping[str, str]) -> dict[str, str]:
    """CPU and memory that pods may ask for."""
    whole = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_bytes // 1024}Ki",
        **node_resources.huge_pages(facts.huge_pages),
    }
    return node_resources.allocatable(whole, reserved)


def oci_machine(facts: Facts, parent: Parent, *, with_devices: bool) -> oci_spec.Machine:
    """`with_devices`: those of the host as they are now, for a privileged container."""
    found = tuple(devices(_DEV)) if with_devices else ()
    return oci_spec.Machine(
        facts.cgroup_v2,
        parent.capabilities,
        found,
        facts.swap_control,
        facts.hugetlb_cgroup,
        facts.memory_cgroup,
    )


def devices(folder: pathlib.Path) -> Iterator[oci_spec.Device]:
    """The device nodes in a /dev, but for what each container has of its own."""
    for entry in _entries(folder):
        if entry.is_symlink() or entry.name in _OWN_OF_CONTAINERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from devices(pathlib.Path(entry.path))
            continue
        with contextlib.suppress(FileNotFoundError):  # unplugged just now
            held = entry.stat(follow_symlinks=False)
            kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(held.st_mode))
            if kind is not None:
                yield oci_spec.Device(
                    path=entry.path,
                    type=kind,
                    major=os.major(held.st_rdev),
                    minor=os.minor(held.st_rdev),
                    mode=stat.S_IMODE(held.st_mode),
                    uid=held.st_uid,
                    gid=held.st_gid,
                )


def _entries(folder: pathlib.Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _counts_swap() -> bool:
    """Asked of our own group: the root has no such file."""
    own = _text(_PROC / "self/cgroup").rpartition("::")[2]
    return (_CGROUP / own.lstrip("/") / "memory.swap.max").exists()


def _os_image() -> str:
    for line in _text(pathlib.Path("/etc/os-release")).splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _status(process: pathlib.Path) -> dict[str, str]:
    lines = _text(process / "status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


class Cgroups:
    """The cgroups of whole pods."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._v2 = facts.cgroup_v2
        self._balancing = threading.Lock()

    def of_all(self, reserved: Mapping[str, str]) -> cgroups.Limits:
        """What all pods may use together."""
        return node_resources.pods_limits(allocatable(self._facts, reserved))

    def make(self, path: str, limits: cgroups.Limits) -> None:
        """Raises OSError."""
        if self._v2:
            self._make_v2(path, limits)
        else:
            self._make_v1(path, limits)

    def put(self, path: str, leaf: str, pid: int) -> None:
        """Move a process into a group below a pod's. Raises OSError."""
        relative = f"{path.lstrip('/')}/{leaf}"
        roots = [_CGROUP] if self._v2 else [*_CGROUP.iterdir()]
        for root in roots:
            if not (root / "cgroup.procs").exists():
                continue
            folder = root / relative
            folder.mkdir(parents=True, exist_ok=True)
            try:
                (folder / "cgroup.procs").write_text(str(pid))
            except OSError:
                # A cpuset of v1 that has no processors yet; where the process is bounds nothing.
                folder.rmdir()

    def remove(self, path: str) -> None:
        """End whatever still runs in it. Raises OSError when that does not go away. Blocks."""
        relative = path.lstrip("/")
        roots = [_CGROUP] if self._v2 else [*_CGROUP.iterdir()]
        deadline = time.monotonic() + _REMOVE_SECONDS
        for folder in [root / relative for root in roots]:
            while _is_left(folder):
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "something in the cgroup does not end", str(folder))
                time.sleep(0.01)

    def balance(self, path: str) -> None:
        """Give the group of a class as much CPU as its pods ask for together, like the kubelet."""
        folder = (_CGROUP if self._v2 else _CGROUP / "cpu") / path.lstrip("/")
        name, least, most = (
            ("cpu.weight", 1, 10_000)
            if self._v2
            else ("cpu.shares", cgroups.MIN_SHARES, cgroups.MAX_SHARES)
        )
        with self._balancing:
            pods = [entry for entry in _entries(folder) if entry.name.startswith("pod")]
            total = sum(int(_text(pathlib.Path(pod.path) / name) or 0) for pod in pods)
            _set(folder / name, str(max(least, min(most, total))))

    def pods(self, root: str) -> dict[str, set[str]]:
        """Pods of which a cgroup is there in any hierarchy, each with the paths of those of its
        containers. Blocks."""
        found: dict[str, set[str]] = {}
        for tree in [_CGROUP] if self._v2 else [*_CGROUP.iterdir()]:
            for tier in qos.TIERS:
                top = pathlib.PurePath(cgroups.pod_path(root, tier, "")).parent
                for name in _folders(tree / str(top).lstrip("/")):
                    if name.startswith("pod"):
                        children = found.setdefault(name.removeprefix("pod"), set())
                        inner = _folders(tree / str(top).lstrip("/") / name)
                        children.update(f"{top}/{name}/{child}" for child in inner)
        return found

    def _make_v2(self, path: str, limits: cgroups.Limits) -> None:
        folder = _CGROUP
        for part in path.strip("/").split("/"):
            self._delegate(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
        self._delegate(folder)
        quota = "max" if limits.cpu_quota_us is None else str(limits.cpu_quota_us)
        _set(folder / "cpu.weight", str(cgroups.weight(limits.cpu_shares)))
        _set(folder / "cpu.max", f"{quota} {cgroups.PERIOD_US}")
        _set(
            folder / "memory.max",
            "max" if limits.memory_bytes is None else str(limits.memory_bytes),
        )
        _set(folder / "pids.max", "max" if limits.pids is None else str(limits.pids))

    def _delegate(self, folder: pathlib.Path) -> None:
        offered = _text(folder / "cgroup.controllers").split()
        on = _text(folder / "cgroup.subtree_control").split()
        wanted = [f"+{name}" for name in _CONTROLLERS if name in offered and name not in on]
        if wanted:
            (folder / "cgroup.subtree_control").write_text(" ".join(wanted))

    def _make_v1(self, path: str, limits: cgroups.Limits) -> None:
        relative = path.lstrip("/")
        for controller in ("cpu", "memory", "pids"):
            root = _CGROUP / controller
            if root.is_dir():
                (root / relative).mkdir(parents=True, exist_ok=True)
        quota = -1 if limits.cpu_quota_us is None else limits.cpu_quota_us
        memory = -1 if limits.memory_bytes is None else limits.memory_bytes
        cpu = _CGROUP / "cpu" / relative
        _set(cpu / "cpu.shares", str(limits.cpu_shares))
        _set(cpu / "cpu.cfs_period_us", str(cgroups.PERIOD_US))
        _set(cpu / "cpu.cfs_quota_us", str(quota))
        _set(_CGROUP / "memory" / relative / "memory.limit_in_bytes", str(memory))
        pids = "max" if limits.pids is None else str(limits.pids)
        _set(_CGROUP / "pids" / relative / "pids.max", pids)


def _folders(path: pathlib.Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir()]
    except OSError:
        return []


def _is_left(folder: pathlib.Path) -> bool:
    """Remove a cgroup with all below it, if nothing runs there; what does is killed."""
    for top, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(top)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
                for pid in _text(pathlib.Path(top) / "cgroup.procs").split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
    return folder.is_dir()


def _set(path: pathlib.Path, value: str) -> None:
    """A file that is not there belongs to a controller that this kernel does not have."""
    with contextlib.suppress(FileNotFoundError):
        path.write_text(value)
