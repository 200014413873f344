"""Which cgroup controllers this host runs, and how to switch on one that is off.

Raspberry Pi OS starts with the memory controller off, to spare 8 MB for each GB of memory. Sources:
cgroups(7), cgroup-v2.rst, and the boot loader's cmdline.txt.
"""

from __future__ import annotations

import errno
import pathlib
from collections.abc import Sequence

from edgeorch.lib import files

ROOT = pathlib.Path("/sys/fs/cgroup")
BOOT = pathlib.Path("/boot")


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


def fix(missing: Sequence[str]) -> str:
    """The exact edit for the boot loader that this machine has."""
    added = " ".join(words(missing))
    path = boot_line()
    if path is None:
        return f"add `{added}` to the kernel's command line, then reboot"
    if with_controllers(path.read_text(), missing) == path.read_text():
        return f"reboot: {path} has `{added}` already"
    return (
        f"edgeorch check --fix, which adds `{added}` to the end of the one line in {path}, "
        "then reboot"
    )


def boot_line(boot: pathlib.Path = BOOT) -> pathlib.Path | None:
    """The file that a Raspberry Pi's boot loader takes the kernel's command line from."""
    names = ("firmware/cmdline.txt", "cmdline.txt")
    return next((boot / name for name in names if (boot / name).is_file()), None)


def words(missing: Sequence[str]) -> list[str]:
    """What switches these controllers on, for the kernel's command line."""
    wanted = [f"cgroup_enable={name}" for name in missing]
    return [*wanted, "cgroup_memory=1"] if "memory" in missing else wanted


def with_controllers(text: str, missing: Sequence[str]) -> str:
    """A cmdline.txt with these switched on. The boot loader reads its first line only: what
    somebody put on another comes along; what says the opposite goes. The same text when nothing is
    to be done."""
    line, dashes, rest = " ".join(text.split()).partition(" -- ")  # the rest is for init
    present, wanted = line.split(), words(missing)
    opposite = {f"cgroup_disable={name}" for name in missing}
    on_one_line = len(text.strip().splitlines()) <= 1
    if on_one_line and not opposite & set(present) and set(wanted) <= set(present):
        return text
    kept = [word for word in present if word not in opposite and word not in wanted]
    return " ".join([*kept, *wanted]) + dashes + rest + "\n"


def switch_on(missing: Sequence[str], boot: pathlib.Path = BOOT) -> str:
    """Edit the boot loader's line, keep the former beside it, and say what was done.

    Raises OSError, FileNotFoundError where there is no such file."""
    path = boot_line(boot)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, "no cmdline.txt in", str(boot))
    before = path.read_text()
    after = with_controllers(before, missing)
    if after == before:
        return f"{path} has it already: reboot"
    backup = _free_name(path)
    files.write_atomically(backup, before.encode(), mode=0o644)
    files.write_atomically(path, after.encode(), mode=0o755)  # as a FAT boot partition has it
    return f"added `{' '.join(words(missing))}` to {path} (the former is {backup.name}): reboot"


def _free_name(path: pathlib.Path) -> pathlib.Path:
    """A backup never takes the place of an earlier one."""
    names = (path.with_name(f"{path.name}.before-edgeorch{n or ''}") for n in range(1000))
    return next(name for name in names if not name.exists())
