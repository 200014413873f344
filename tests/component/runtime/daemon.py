"""A containerd of the test's own: own directories, own network namespace, no CRI."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests import generations

CONFIG = """\
version = 2
root = "{root}/lib"
state = "{root}/run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.restart"]
  interval = "24h"
"""
CONTROLLERS = Path("/sys/fs/cgroup")


class Containerd:
    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.netns = f"/run/netns/{name}"
        self.cgroup = f"/{name}"
        self.address = str(root / "containerd.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        inside = ["nsenter", f"--net={self.netns}", "ip"]
        subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
        subprocess.run([*inside, "route", "add", "unreachable", "default"], check=True)
        (self.root / "config.toml").write_text(CONFIG.format(root=self.root))

    def start(self) -> None:
        with (self.root / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={self.netns}",
                    "containerd",
                    "--config",
                    str(self.root / "config.toml"),
                ],
                stdout=log,
                stderr=log,
                env=generations.environment(),
            )
        self._await_answer()

    def kill(self) -> None:
        """SIGKILL: the shims live on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def unmake(self) -> None:
        """After stop: shims the tests left, mounts, the network namespace, cgroups."""
        for pid in self.shims():
            os.kill(pid, signal.SIGKILL)
        for point in reversed(self._mounts()):
            subprocess.run(["umount", "-l", point], check=True)
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        self._remove_cgroups()

    def shims(self) -> list[int]:
        """Processes whose command line names this containerd's socket."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"shim" in words[0] and self.address.encode() in words:
                found.append(int(folder.name))
        return found

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4] for line in lines]
        return [point for point in points if point.startswith(f"{self.root}/")]

    def _remove_cgroups(self) -> None:
        tops = [CONTROLLERS / self.name, *CONTROLLERS.glob(f"*/{self.name}")]
        for top in tops:
            if not top.is_dir():
                continue
            folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
            for folder in sorted(folders, reverse=True):
                _rmdir(folder)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            command = ["ctr", "--address", self.address, "--timeout", "2s", "version"]
            done = subprocess.run(command, capture_output=True, env=generations.environment())
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise TimeoutError((self.root / "containerd.log").read_text()[-2000:])
            time.sleep(0.05)


def _rmdir(folder: Path) -> None:
    """A cgroup is busy for a moment after its last process ended."""
    deadline = time.monotonic() + 5
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
