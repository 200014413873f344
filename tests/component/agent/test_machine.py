"""What is read of the machine is what the kernel has."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from edgeorch.agent import machine

pytestmark = pytest.mark.system


def test_a_privileged_container_gets_the_hosts_device_nodes(tmp_path: pathlib.Path) -> None:
    for name in ("bus/usb", "pts", "shm"):
        (tmp_path / name).mkdir(parents=True)
    null = os.makedev(1, 3)
    for name in ("bus/usb/001", "ttyUSB0", "console", "pts/0", "shm/x"):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o620, null)
        (tmp_path / name).chmod(0o620)
    os.mknod(tmp_path / "sda", stat.S_IFBLK | 0o660, os.makedev(8, 0))
    (tmp_path / "stdin").symlink_to("ttyUSB0")
    (tmp_path / "file").write_text("")
    os.chown(tmp_path / "ttyUSB0", 0, 20)

    found = {
        device.path.removeprefix(f"{tmp_path}/"): device for device in machine.devices(tmp_path)
    }

    assert set(found) == {"bus/usb/001", "ttyUSB0", "sda"}
    serial, disk = found["ttyUSB0"], found["sda"]
    assert (serial.type, serial.major, serial.minor, serial.mode, serial.gid) == (
        "c",
        1,
        3,
        0o620,
        20,
    )
    assert (disk.type, disk.major, disk.minor) == ("b", 8, 0)


def test_only_privileged_containers_get_them() -> None:
    facts = machine.read()
    above = machine.Parent(("CAP_SYS_ADMIN",), 0)
    given = machine.oci_machine(facts, above, with_devices=True).devices
    assert "/dev/null" in {device.path for device in given}
    assert machine.oci_machine(facts, above, with_devices=False).devices == ()


def test_swap_can_be_forbidden_where_the_kernel_counts_it() -> None:
    own = pathlib.Path("/proc/self/cgroup").read_text()
    group = pathlib.Path("/sys/fs/cgroup") / own.rpartition("0::/")[2].strip()
    unified = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
    counts = unified and (group / "memory.swap.max").exists()
    assert machine.read().swap_control is counts
