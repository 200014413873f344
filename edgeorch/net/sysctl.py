"""Kernel switches of the network, set narrowly and remembered.

`per interface` is the rule: forwarding is switched on for the bridge and for the interfaces that
lead out, not for the device as a whole, when the administrator has not done so already. What was
switched on is written to `<run_dir>/sysctls.json` with the value that it had, so that `restore`
gives the device back as it was found.
"""

from __future__ import annotations

import pathlib

from edgeorch.lib import json
from edgeorch.net import files

ROOT = pathlib.Path("/proc/sys/net")


def read(name: str) -> str | None:
    """`name` with slashes: interface names may hold dots. None when the kernel lacks it."""
    try:
        return (ROOT / name).read_text().strip()
    except (FileNotFoundError, OSError):
        return None


def write(name: str, value: str) -> bool:
    """Whether it was changed. Raises OSError when the kernel refuses."""
    if read(name) == value:
        return False
    (ROOT / name).write_text(value)
    return True


class Changed:
    """The switches that we turned, with their former values."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._former: dict[str, str] = {}
        if path.exists():
            self._former = json.decode(path.read_bytes())

    def set(self, name: str, value: str) -> bool:
        """Turn a switch that stays after us; whether it was changed now."""
        former = read(name)
        if former is None or former == value:
            return False
        if name not in self._former:
            self._former[name] = former
            files.write_atomically(self._path, json.encode(self._former))
        return write(name, value)

    def names(self) -> list[str]:
        return list(self._former)

    def restore(self) -> None:
        for name, value in self._former.items():
            if read(name) is not None:
                write(name, value)
        self._former = {}
        self._path.unlink(missing_ok=True)


def set_bridge(bridge: str, changed: Changed) -> None:
    """The switches of our own bridge; they go with it, so only the one of `all` is remembered.

    `route_localnet` lets 127.0.0.1:NODEPORT be translated to a pod; the table's localhost-guard
    chain keeps pods from using it the other way round. No redirects: packets between pods leave
    by the interface on which they came (and each redirect uses up the ICMP rate that the refusal of
    a Service without endpoints needs). `all` counts for redirects like the interface's own switch,
    so both must be off; other interfaces keep theirs.
    """
    conf = f"ipv4/conf/{bridge}"
    write(f"{conf}/forwarding", "1")
    write(f"{conf}/send_redirects", "0")
    changed.set("ipv4/conf/all/send_redirects", "0")
    write(f"{conf}/route_localnet", "1")
    # A pod's address is only ever seen on the bridge; strict checking stops forged sources.
    write(f"{conf}/rp_filter", "1")
    write(f"{conf}/accept_redirects", "0")
