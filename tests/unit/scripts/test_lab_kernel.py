"""Reading mounts and processes, on which `down` stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.lablib import kernel

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
34 22 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 34 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 34 0:31 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
51 22 0:40 / /run/lab/a/rootfs rw master:1 - overlay overlay rw,lowerdir=/x:/y
52 22 0:41 / /run/lab/a rw shared:4 - tmpfs tmpfs rw
53 51 0:42 / /run/lab/a/rootfs/with\\040space rw - tmpfs tmpfs rw
54 22 0:43 / /run/lab/ab rw - tmpfs tmpfs rw
55 52 0:44 / /run/lab/a rw - tmpfs none rw
"""


def test_mount_points_are_read_with_their_escapes() -> None:
    points = [mount.point for mount in kernel.parse_mountinfo(MOUNTINFO)]
    assert "/run/lab/a/rootfs/with space" in points
    assert len(points) == MOUNTINFO.count("\n")


def test_mounts_come_off_deepest_first_and_only_the_device_s() -> None:
    found = kernel.beneath(kernel.parse_mountinfo(MOUNTINFO), [Path("/run/lab/a")])
    assert found == [
        "/run/lab/a/rootfs/with space",
        "/run/lab/a/rootfs",
        "/run/lab/a",
        "/run/lab/a",
    ]


def test_both_generations_of_cgroups_are_found() -> None:
    assert kernel.hierarchies(kernel.parse_mountinfo(MOUNTINFO)) == {
        Path("/sys/fs/cgroup/cpu,cpuacct"): frozenset({"rw", "cpu", "cpuacct"}),
        Path("/sys/fs/cgroup/unified"): frozenset({"unified"}),
    }


def test_a_pid_file_names_one_process_only(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    kernel.write_pid(path, os.getpid())
    assert kernel.read_pid(path) == os.getpid()
    # The same id with another start time: the id was used again.
    path.write_text(f"{os.getpid()} 1\n")
    assert kernel.read_pid(path) is None


def test_a_zombie_is_not_a_running_process(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path = tmp_path / "x.pid"
    try:
        kernel.write_pid(path, child.pid)
        assert kernel.read_pid(path) == child.pid
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert kernel.read_pid(path) is None
    finally:
        child.communicate()


def test_a_broken_pid_file_names_none(tmp_path: Path) -> None:
    (tmp_path / "half.pid").write_text("12")
    assert kernel.read_pid(tmp_path / "half.pid") is None
    assert kernel.read_pid(tmp_path / "absent.pid") is None


def test_this_process_and_its_parents_are_family() -> None:
    assert {os.getpid(), os.getppid()} <= kernel.family()
