"""Taking a device down, whatever state it is in: nothing of it remains.

The order matters: first every process dies (so nothing makes anything new), then mounts come off,
then namespaces, cgroups and files go. Deletion never crosses a mount: an unmounted tree is all
that is left to delete. Each step looks for what is there; none trusts a record. Callers hold the
device's lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

from . import device as devices
from . import kernel
from .device import Device, LabError

KILL_SECONDS = 30.0

# Compiled into containerd's shim library, runc's shim and ctr: outside any configured directory.
_SHIM_SOCKETS = Path("/run/containerd/s")
_RUNC_ROOT = Path("/run/containerd/runc")
_CTR_FIFOS = Path("/run/containerd/fifo")
_SOCKET_NAME = re.compile(rf"{_SHIM_SOCKETS}/[0-9a-f]{{64}}\b")


def down(device: Device) -> None:
    bundles = _bundles(device)
    sockets = shim_sockets(device)
    fifos = _ctr_fifos(device)
    _kill(device)
    for point in kernel.beneath(kernel.mounts(), [device.run, device.data]):
        kernel.unmount(point)
    left = kernel.beneath(kernel.mounts(), [device.run, device.data])
    if left:
        raise LabError(f"cannot unmount {', '.join(left)}")
    for name in (device.netns, device.lan):
        if kernel.netns_exists(name):
            kernel.ip("netns", "delete", name)
    _remove_cgroups(device)
    for path in sockets | fifos:
        path.unlink(missing_ok=True)
    for directory in {path.parent for path in fifos}:
        with contextlib.suppress(OSError):
            directory.rmdir()
    for namespace, identity in bundles:
        shutil.rmtree(_RUNC_ROOT / namespace / identity, ignore_errors=True)
        with contextlib.suppress(OSError):
            (_RUNC_ROOT / namespace).rmdir()
    for image in (device.image, device.image.with_suffix(".part")):
        image.unlink(missing_ok=True)
    for tree in (device.data, device.run):
        if tree.exists():
            shutil.rmtree(tree)


def tidy(device: Device) -> None:
    """After `down`, still under the lock: what several devices share goes with the last one."""
    (devices.RUN / f".{device.name}.lock").unlink(missing_ok=True)
    if devices.existing():
        return
    (devices.RUN / f".{devices.ADDRESSES}.lock").unlink(missing_ok=True)
    made = (_SHIM_SOCKETS, _RUNC_ROOT, _CTR_FIFOS, _RUNC_ROOT.parent)
    for shared in (devices.RUN, devices.DATA, *made):
        with contextlib.suppress(OSError):
            shared.rmdir()


def _living(device: Device) -> set[int]:
    """By cgroup, by namespace, and shims by the socket they were told to report to."""
    pids = kernel.cgroup_pids(device.cgroup)
    pids |= kernel.pids_in_netns(device.netns) | kernel.pids_in_netns(device.lan)
    pids |= kernel.pids_with_argument(str(device.containerd_socket))
    alive = {pid for pid in pids if kernel.started_at(pid) is not None}
    return alive - kernel.family()


def _kill(device: Device) -> None:
    def dead() -> bool:
        # Again and again: a shim may start a process between the look and the kill.
        kernel.thaw_cgroups(device.cgroup)
        alive = _living(device)
        for pid in alive:
            kernel.send(pid, signal.SIGKILL)
        return not alive

    if not kernel.wait_until(dead, KILL_SECONDS):
        names = ", ".join(f"{pid} {_command(pid)}" for pid in sorted(_living(device)))
        raise LabError(f"cannot end the processes of {device.name}: {names}")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _bundles(device: Device) -> list[tuple[str, str]]:
    """(containerd namespace, container) of each task that containerd may have run."""
    tasks = device.containerd_state / "io.containerd.runtime.v2.task"
    return [(path.parent.name, path.name) for path in tasks.glob("*/*") if path.is_dir()]


def _ctr_fifos(device: Device) -> set[Path]:
    """The pipes of `ctr run`, known only to the shims that hold them open."""
    found = set()
    for pid in _living(device):
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{pid}/fd"):
                found.add(Path(os.readlink(fd.path)))
    return {path for path in found if path.is_relative_to(_CTR_FIFOS)}


def shim_sockets(device: Device) -> set[Path]:
    """Unix sockets are listed where they were made; bundles name those of dead shims."""
    text = ""
    if kernel.netns_exists(device.netns):
        text = kernel.in_netns(
            device.netns, lambda: Path("/proc/thread-self/net/unix").read_text(errors="replace")
        )
    tasks = device.containerd_state / "io.containerd.runtime.v2.task"
    for address in tasks.glob("*/*/address"):
        with contextlib.suppress(OSError):
            text += address.read_text(errors="replace") + "\n"
    return {Path(found) for found in _SOCKET_NAME.findall(text)}


def _remove_cgroups(device: Device) -> None:
    def removed() -> bool:
        for group in kernel.cgroup_dirs(device.cgroup):
            with contextlib.suppress(OSError):  # the last process may still be on its way out
                os.rmdir(group)
        return not kernel.cgroup_dirs(device.cgroup)

    if not kernel.wait_until(removed, KILL_SECONDS):
        raise LabError(f"cannot remove cgroup {device.cgroup}: something still runs in it")
