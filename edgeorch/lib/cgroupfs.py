"""Which cgroup controllers this host runs, and how to switch on one that is off.

Raspberry Pi OS starts with the memory controller off, to spare 8 MB for each GB of memory. Sources:
cgroups(7), cgroup-v2.rst, and the boot loader's cmdline.txt.
"""

from __future__ import annotations

import os
import pathlib

ROOT = pathlib.Path("/sys/fs/cgroup")


def is_unified() -> bool:
    """Pure cgroup v2."""
    return (ROOT / "cgroup.controllers").exists()


def controllers() -> set[str]:
    """Those that are on, of either generation."""
    if is_unified():
        return set((ROOT / "cgroup.controllers").read_text().split())
    found = set()
    for line in pathlib.Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, _, _, enabled = line.split()
        if enabled == "1" and _is_mounted(name):
            found.add(name)
    return found


def _is_mounted(controller: str) -> bool:
    return any(
        " - cgroup " in line and controller in line.split(" - ")[1].split()[2].split(",")
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    )


def fix(missing: list[str]) -> str:
    """The exact edit for the boot loader that this machine has."""
    words = " ".join(
        f"cgroup_enable={name}" + (" cgroup_memory=1" if name == "memory" else "")
        for name in missing
    )
    for name in ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt"):
        if os.path.exists(name):
            return f"add `{words}` to the end of the one line in {name}, then reboot"
    return f"add `{words}` to the kernel's command line, then reboot"
