"""`edgeorch check`: what the host lacks, and how to mend it.

Each check looks at one fact and answers with a `Finding`. A failure is something without which pods
cannot run; a warning is something that works less well. Nothing is changed on the host but by
`mend`, when it is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable

from msgspec import Struct

from edgeorch import config as configuration
from edgeorch.agent import hardware
from edgeorch.core import hardware as judging
from edgeorch.core import ipam, packet_filters
from edgeorch.dns import server
from edgeorch.lib import cgroupfs, json, trial
from edgeorch.lib import clock as clocks
from edgeorch.net import clashes
from edgeorch.store import medium

OK, WARNING, FAILURE = "ok", "warning", "failure"

MIN_CONTAINERD = (1, 6)
MIN_NFT = (1, 0, 2)
MIN_KERNEL = (5, 10)
_FREEBIND = 15
"""IP_FREEBIND: an address may be bound before a link brings it, as the API does it."""


class Finding(Struct, frozen=True):
    name: str
    level: str
    text: str
    fix: str = ""
    mend: Callable[[], str] | None = None
    """Carries the fix out and says what was done. Raises OSError."""


Check = Callable[[configuration.Config], Finding]


def run(config: configuration.Config) -> list[Finding]:
    told = _conditions(config)
    if told is None:
        told = [*_hardware(config), *_upgrade()]
    return [*(check(config) for check in CHECKS), *told]


def mend(findings: list[Finding]) -> list[str]:
    """Carry out what can be mended from here; what was done, or why not."""
    told = []
    for found in findings:
        if found.mend is not None:
            try:
                told.append(f"{found.name}: {found.mend()}")
            except OSError as error:
                told.append(f"{found.name}: cannot mend it: {error}")
    return told


def report(findings: list[Finding]) -> str:
    marks = {OK: "[ ok ]", WARNING: "[warn]", FAILURE: "[FAIL]"}
    lines = []
    for found in findings:
        lines.append(f"{marks[found.level]} {found.name}: {found.text}")
        if found.fix:
            lines.append(f"       fix: {found.fix}")
    return "\n".join(lines)


def _root(_: configuration.Config) -> Finding:
    if os.geteuid() == 0:
        return Finding("privileges", OK, "running as root")
    return Finding("privileges", FAILURE, "not running as root", "run it with sudo")


def _python(_: configuration.Config) -> Finding:
    return Finding("python", OK, ".".join(map(str, sys.version_info[:3])))


def _kernel(_: configuration.Config) -> Finding:
    release = os.uname().release
    if _version(release) >= MIN_KERNEL:
        return Finding("kernel", OK, release)
    return Finding("kernel", FAILURE, f"{release} is older than 5.10", "upgrade the system")


def _containerd(config: configuration.Config) -> Finding:
    name = "containerd"
    address = config.containerd.address
    if shutil.which("containerd") is None and not os.path.exists(address):
        return Finding(name, FAILURE, "not installed", "apt-get install containerd")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(address)
        except OSError as error:
            fix = "systemctl enable --now containerd, or set containerd.address"
            return Finding(name, FAILURE, f"cannot connect to {address}: {error}", fix)
    program = shutil.which("containerd")
    if program is None:
        return Finding(name, OK, f"answers at {address}")
    text = _output([program, "--version"])
    if _version(text) < MIN_CONTAINERD:
        return Finding(
            name, FAILURE, f"{text.strip()} is older than 1.6", "install containerd >= 1.6"
        )
    return Finding(name, OK, f"{_dotted(text)} answers at {address}")


def _runc(_: configuration.Config) -> Finding:
    program = shutil.which("runc")
    if program is None:
        return Finding("runc", FAILURE, "not installed", "apt-get install runc")
    return Finding("runc", OK, _output([program, "--version"]).splitlines()[0])


def _openssl(_: configuration.Config) -> Finding:
    if shutil.which("openssl") is None:
        return Finding(
            "openssl", FAILURE, "not installed (it makes the certificates)",
            "apt-get install openssl",
        )  # fmt: skip
    return Finding("openssl", OK, _output(["openssl", "version"]).strip())


_NFT_PROBE = """
table inet edgeorch_check {
    map services { type ipv4_addr . inet_proto . inet_service : verdict; }
    chain nat { type nat hook prerouting priority -100; }
    chain pick { meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }; }
    chain post { type nat hook postrouting priority 100; masquerade; }
}
"""  # noqa: E501


def _nft(_: configuration.Config) -> Finding:
    program = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        return Finding("nftables", FAILURE, "nft is not installed", "apt-get install nftables")
    text = _output([program, "--version"])
    if _version(text) < MIN_NFT:
        return Finding("nftables", FAILURE, f"{text.strip()} is too old", "install nft >= 1.0.2")
    if os.geteuid() != 0:
        return Finding("nftables", WARNING, f"nft {_dotted(text)}; kernel not tried without root")
    # -c asks the kernel to judge the rules without applying them.
    done = subprocess.run(
        [program, "-c", "-f", "-"], input=_NFT_PROBE, text=True, capture_output=True, check=False
    )
    if done.returncode == 0:
        return Finding("nftables", OK, f"nft {_dotted(text)}, kernel has maps, NAT and masquerade")
    why = done.stderr.strip().splitlines()[0] if done.stderr.strip() else "refused"
    fix = "use a kernel with CONFIG_NF_TABLES, NFT_NAT, NFT_MASQ, NFT_NUMGEN (modprobe nf_tables)"
    return Finding("nftables", FAILURE, f"the kernel refuses our rules: {why}", fix)


def _overlay(config: configuration.Config) -> Finding:
    if config.containerd.snapshotter != "overlayfs":
        return Finding("overlayfs", OK, f"not needed: snapshotter {config.containerd.snapshotter}")
    known = pathlib.Path("/proc/filesystems").read_text()
    if re.search(r"\boverlay\b", known) or _module("overlay"):
        return Finding("overlayfs", OK, "available")
    return Finding("overlayfs", FAILURE, "not in the kernel", "modprobe overlay")


def _bridge(_: configuration.Config) -> Finding:
    missing = [name for name in ("bridge", "veth") if not _link_kind(name)]
    if not missing:
        return Finding("bridge and veth", OK, "available")
    return Finding(
        "bridge and veth", FAILURE, f"the kernel lacks {', '.join(missing)}",
        f"modprobe {' '.join(missing)}",
    )  # fmt: skip


def _link_kind(name: str) -> bool:
    built_in = pathlib.Path(f"/sys/module/{name}").exists()
    return built_in or _module(name) or _built_in(name)


def _built_in(name: str) -> bool:
    listing = pathlib.Path(f"/lib/modules/{os.uname().release}/modules.builtin")
    if not listing.exists():
        # No list of modules at all: a kernel without loadable ones. Trying is the only proof, and
        # the network says so at start.
        return True
    return f"/{name}.ko" in listing.read_text()


def _module(name: str) -> bool:
    folder = pathlib.Path(f"/lib/modules/{os.uname().release}")
    listing = folder / "modules.dep"
    return listing.exists() and re.search(rf"/{name}\.ko", listing.read_text()) is not None


def _cgroups(_: configuration.Config) -> Finding:
    """Raspberry Pi OS starts with the memory controller off to spare memory."""
    missing = [name for name in ("cpu", "memory", "pids") if name not in cgroupfs.controllers()]
    if not missing:
        generation = "v2" if cgroupfs.is_unified() else "v1"
        return Finding("cgroups", OK, f"{generation} with cpu, memory and pids")
    level = FAILURE if "cpu" in missing and "pids" in missing else WARNING
    return Finding(
        "cgroups", level, f"the kernel runs without: {', '.join(missing)} (limits do not hold)",
        cgroupfs.fix(missing),
        (lambda: cgroupfs.switch_on(missing)) if cgroupfs.boot_line() else None,
    )  # fmt: skip


class _Local(http.client.HTTPConnection):
    """To the API's socket, which is for root only."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _conditions(config: configuration.Config) -> list[Finding] | None:
    """What is the matter by the account of the device that runs here; None where none answers."""
    client = _Local(config.api_socket)
    try:
        client.request("GET", f"/api/v1/nodes/{config.node_name}")
        node = json.decode(client.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        client.close()
    told = (node.get("status") or {}).get("conditions") or []
    found = [
        Finding(each["type"], WARNING, each["message"])
        for each in told
        if (each["status"] == "True") is not (each["type"] == "Ready")
    ]
    return found or [Finding("device", OK, f"it runs, and none of {len(told)} conditions is wrong")]


def _hardware(config: configuration.Config) -> list[Finding]:
    """What a running device would show as conditions of its node."""
    written = pathlib.Path(config.data_dir), pathlib.Path(config.log_dir)
    found = judging.judge(hardware.read(written))
    return [
        Finding(each.type, WARNING if each.wrong else OK, each.message, each.fix) for each in found
    ]


def _upgrade() -> list[Finding]:
    """Of the installation that this program is part of; scripts/install makes such."""
    told, _, fix = trial.undone(pathlib.Path(sys.prefix).parent).rpartition(": ")
    return [Finding(trial.CONDITION, WARNING, told, fix)] if told else []


def _clock(_: configuration.Config) -> Finding:
    now = clocks.rfc3339(clocks.wall())
    if clocks.wall() < clocks.RELEASED:
        fix = "have it reach a time server (timedatectl), or set it (date -s)"
        return Finding("clock", WARNING, f"{now} has been", fix)
    if clocks.is_synchronized():
        return Finding("clock", OK, f"{now}, from a time server")
    return Finding("clock", OK, f"{now}; no time server is followed")


def _disk(config: configuration.Config) -> Finding:
    path = pathlib.Path(config.data_dir)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    text = f"{free // 2**20} MiB free at {path}"
    if free < 200 * 2**20:
        return Finding("disk", FAILURE, text, "free some space: images and state need 200 MiB")
    return Finding("disk", OK if free > 2**30 else WARNING, text)


def _sqlite(config: configuration.Config) -> Finding:
    """WAL needs shared memory on the data directory's file system: not so on some networks'."""
    import sqlite3

    path = pathlib.Path(config.data_dir)
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        return Finding("data directory", FAILURE, f"{path} is no directory", "set data_dir to one")
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        return Finding("data directory", WARNING, f"{path} is not writable for this user")
    try:
        with (
            tempfile.TemporaryDirectory(dir=path) as folder,
            contextlib.closing(sqlite3.connect(f"{folder}/probe.db")) as connection,
        ):
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    except (OSError, sqlite3.Error) as error:
        found = medium.diagnose(path)
        told, _, fix = found.told.partition(": ") if found is not None else (str(error), "", "")
        return Finding("data directory", FAILURE, told, fix)
    if mode == "wal":
        return Finding("data directory", OK, f"{path} takes a WAL database")
    fix = "put data_dir on a local file system"
    return Finding("data directory", FAILURE, f"{path} cannot hold a WAL database", fix)


def _ports(config: configuration.Config) -> Finding:
    taken = [
        str(port)
        for address, port in (
            (config.api.address, config.api.port),
            (config.health.address, config.health.port),
        )
        if _listening(address, port)
    ]
    if not taken:
        return Finding("ports", OK, f"{config.api.port} and {config.health.port} are free")
    if _accepts(config.api_socket):
        return Finding("ports", OK, "in use by edgeorch, which runs")
    return Finding(
        "ports", FAILURE, f"in use by another program: {', '.join(taken)}",
        "end it, or set api.port and health.port",
    )  # fmt: skip


def _accepts(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _listening(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False


def _ranges(config: configuration.Config) -> Finding:
    """As the network finds out at start: an interface or a route of somebody else in our place."""
    chosen, name = config.network, "addresses"
    if clashes.is_foreign(clashes.INTERFACES / chosen.bridge):
        return Finding(
            name, FAILURE, f"interface {chosen.bridge} exists and is not edgeorch's",
            f"choose another name with network.bridge, or ip link delete {chosen.bridge}",
        )  # fmt: skip
    routes = clashes.ROUTES.read_text() if clashes.ROUTES.exists() else ""
    for key, cidr in (("pod_cidr", chosen.pod_cidr), ("service_cidr", chosen.service_cidr)):
        if route := clashes.overlap(routes, cidr, chosen.bridge):
            return Finding(
                name, FAILURE, f"network.{key} {cidr} overlaps the route {route}",
                f"choose another range for network.{key}",
            )  # fmt: skip
    return Finding(
        name, OK, f"{chosen.bridge}, {chosen.pod_cidr} and {chosen.service_cidr} are free"
    )


def _dns(config: configuration.Config) -> Finding:
    gateway, name = ipam.gateway(ipaddress.ip_network(config.network.pod_cidr)), "DNS port"
    try:
        for each in server.open_sockets(gateway, 53):
            each.close()
    except PermissionError:
        return Finding(name, WARNING, "cannot look: not running as root", "run it with sudo")
    except OSError as error:
        if _accepts(config.api_socket):
            return Finding(name, OK, "in use by edgeorch, which runs")
        what, _, fix = server.why_not(error, gateway, 53).partition(": another ")
        return Finding(name, FAILURE, what, f"another {fix}" if fix else "")
    return Finding(name, OK, f"{gateway}:53 is free")


def _seccomp(_: configuration.Config) -> Finding:
    # Of the kernel's filter mode, which all profiles need (seccomp(2)).
    if pathlib.Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return Finding("seccomp", OK, "available")
    return Finding(
        "seccomp", WARNING, "not in the kernel: containers' system calls are not filtered",
        "use a kernel with CONFIG_SECCOMP_FILTER",
    )  # fmt: skip


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout or done.stderr


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _dotted(text: str) -> str:
    return ".".join(map(str, _version(text)))


def _forwarding(config: configuration.Config) -> Finding:
    name = "forwarding"
    try:
        listed = subprocess.run(
            ["nft", "-j", "-t", "list", "ruleset"], capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        why = told.splitlines()[0] if told else str(error)
        return Finding(name, WARNING, f"cannot look at other packet filters: {why}")
    ruleset = json.decode(listed.stdout)["nftables"]
    told = packet_filters.blocked(
        ruleset, config.network.bridge, "edgeorch", config.network.pod_cidr
    )
    if not told:
        return Finding(name, OK, "no other packet filter stops pods")
    parts = [text.partition(": ") for text in told]
    what, fix = "; ".join(p[0] for p in parts), " && ".join(p[2] for p in parts)
    return Finding(name, WARNING, what, fix)


def _named_files(config: configuration.Config) -> Finding:
    """Those of the configuration that are asked for only when a bundle or an image comes."""
    wrong = [
        f"{key} of updates.trusted_keys is no public key of Ed25519"
        for key in config.updates.trusted_keys
        if not _is_ed25519(key)
    ]
    for host, registry in config.registries.items():
        if registry.ca:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(registry.ca)
            except OSError as error:
                told = f"{registry.ca} of registries.{host}.ca has no authority"
                wrong.append(f"{told} ({error.strerror or error})")
    if not wrong:
        return Finding("files", OK, "those that the configuration names can be used")
    fix = "put the right PEM file there, or mend the configuration and restart edgeorch"
    return Finding("files", WARNING, "; ".join(wrong), fix)


def _is_ed25519(key: str) -> bool:
    command = ["openssl", "pkey", "-pubin", "-in", key, "-noout", "-text"]
    try:
        shown = subprocess.run(command, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return True  # that there is no openssl is told by another check
    return shown.returncode == 0 and shown.stdout.upper().startswith(b"ED25519")


CHECKS: tuple[Check, ...] = (
    _root, _python, _kernel, _cgroups, _overlay, _bridge, _nft, _containerd, _runc, _openssl,
    _sqlite, _disk, _clock, _ports, _ranges, _dns,
    _seccomp, _forwarding, _named_files,
)  # fmt: skip
