"""A device's medium: a small file system that can be full, for all of its data.

ext4 in a file beside the data of all devices, mounted over the device's own. Whoever looks for it
needs the device's name alone.
"""

from __future__ import annotations

import re
import subprocess

from . import kernel
from .device import Device, LabError

_SIZE = re.compile(r"(\d{1,6})(?::(\d{1,9}))?")
_LEAST = 16


def size(text: str) -> tuple[int, int | None]:
    """MiB, and the number of inodes unless it is left to mkfs."""
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) < _LEAST:
        raise LabError(f"cannot use --disk {text}: write MIB or MIB:INODES, {_LEAST} MiB at least")
    return int(match[1]), int(match[2]) if match[2] else None


def mount(device: Device, asked: tuple[int, int | None] | None) -> None:
    """As it is, where there is one already; none where none is asked for."""
    if any(each.point == str(device.data) for each in kernel.mounts()):
        return
    if asked is not None and not device.image.exists():
        if any(device.data.iterdir()):
            raise LabError(f"cannot give {device.name} a disk: it has data already; down it")
        _make(device, *asked)
    if device.image.exists():
        _run("mount", "-o", "loop", str(device.image), str(device.data))


def _make(device: Device, mebibytes: int, inodes: int | None) -> None:
    part = device.image.with_suffix(".part")
    with part.open("wb") as file:
        file.truncate(mebibytes << 20)
    options = ["-N", str(inodes)] if inodes else []
    _run("mkfs.ext4", "-q", "-F", "-m", "0", *options, str(part))
    part.rename(device.image)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot make a disk: no {command[0]} here") from error
    if done.returncode:
        raise LabError(f"cannot {' '.join(command)}: {done.stderr.strip()}")
