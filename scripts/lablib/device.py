"""What a device is called and where its things lie. Pure, apart from the state file.

The name decides every path, so that `down` needs no record of what was made. The record
(`device.json`) holds only what the name does not decide: address, containerd's directory.
"""

from __future__ import annotations

import ipaddress
import json
import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN = Path("/run/edgeorch-lab")
DATA = Path("/var/lib/edgeorch-lab")

# The lock under which addresses are given out; no device can have this name.
ADDRESSES = "_addresses"

# RFC 2544's benchmarking range: never routed, so a device can clash with no real network.
UPLINKS = ipaddress.ip_network("198.18.0.0/15")
LINK_PREFIX = 30
_LINKS = 2 ** (LINK_PREFIX - UPLINKS.prefixlen)

# 20 characters keep containerd's socket path below sun_path's 108 bytes with ease.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")


class LabError(Exception):
    """Something a person can act on; printed without a traceback."""


@dataclass(frozen=True, slots=True)
class Device:
    name: str

    @property
    def netns(self) -> str:
        return f"edge-{self.name}"

    @property
    def lan(self) -> str:
        """The namespace at the far end of the uplink: the device's neighbour on its network."""
        return f"lan-{self.name}"

    @property
    def run(self) -> Path:
        return RUN / self.name

    @property
    def data(self) -> Path:
        return DATA / self.name

    @property
    def cgroup(self) -> str:
        return f"/edgeorch-lab-{self.name}"

    @property
    def config(self) -> Path:
        return self.run / "config.yaml"

    @property
    def record(self) -> Path:
        return self.run / "device.json"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def containerd_config(self) -> Path:
        return self.run / "containerd.toml"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def containerd_state(self) -> Path:
        return self.run / "containerd"

    @property
    def image(self) -> Path:
        """The medium of a device that has one of its own: all of `data` is on it."""
        return DATA / f".{self.name}.img"

    def pid_file(self, program: str) -> Path:
        return self.run / f"{program}.pid"

    def log_file(self, program: str) -> Path:
        # A full disk is to be told of.
        return (self.run if self.image.exists() else self.data) / f"{program}.log"

    def load(self) -> dict[str, Any]:
        """The record, empty where there is none or a crash left half of one."""
        try:
            record = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def save(self, record: dict[str, Any]) -> None:
        part = self.record.with_suffix(".part")
        part.write_text(json.dumps(record) + "\n")
        part.replace(self.record)


def parse(name: str) -> Device:
    if not _NAME.fullmatch(name):
        raise LabError(f"cannot call a device {name!r}: 1 to 20 of a-z, 0-9 and inner dashes")
    return Device(name)


def existing() -> list[Device]:
    """Every device of which something is left, by name."""
    names = {entry.name for base in (RUN, DATA) if base.is_dir() for entry in base.iterdir()}
    return [Device(name) for name in sorted(names) if _NAME.fullmatch(name)]


def uplink(name: str, taken: Collection[str]) -> tuple[str, str]:
    """The device's address and its neighbour's, in a /30 that no address in `taken` lies in.

    The same name gives the same address as long as nobody else holds it.
    """
    used = {_link_of(address) for address in taken}
    first = zlib.crc32(name.encode()) % _LINKS
    for offset in range(_LINKS):
        link = (first + offset) % _LINKS
        if link not in used:
            base = int(UPLINKS.network_address) + link * 4
            return str(ipaddress.ip_address(base + 2)), str(ipaddress.ip_address(base + 1))
    raise LabError(f"cannot find a free address in {UPLINKS}")


def _link_of(address: str) -> int:
    return (int(ipaddress.ip_address(address)) - int(UPLINKS.network_address)) // 4
