"""A device of its own for each test: a fresh network namespace with an uplink.

The test's main thread enters the namespace, so everything that the code under test starts (threads,
children, sockets) is in there too. The uplink is one end of a veth pair whose other end sits in a
second namespace, the neighbour, with no route anywhere else.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from edgeorch.net import netns, network

NODE = "192.0.2.10"
NEIGHBOUR = "192.0.2.1"

_libc = ctypes.CDLL(None, use_errno=True)


def enter(fd: int) -> None:
    if _libc.setns(fd, netns.CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def sh(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr}{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Device:
    run_dir: pathlib.Path
    neighbour: pathlib.Path
    """Pin of the namespace at the other end of the uplink."""

    def settings(self, **changes: str) -> network.Settings:
        return network.Settings(run_dir=self.run_dir, **changes)


@pytest.fixture
def device(tmp_path: pathlib.Path) -> Iterator[Device]:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    pins = tmp_path / "pins"
    netns.prepare(pins)
    own, neighbour = pins / "device", pins / "neighbour"
    netns.create(own)
    netns.create(neighbour)
    fd = netns.open_fd(own)
    try:
        enter(fd)
        sh(
            "ip link set lo up && ip link add up0 type veth peer name eth9 && "
            f"ip addr add {NODE}/24 dev up0 && ip link set up0 up && "
            "ip route add unreachable default metric 4278198272 && "
            f"ip link set eth9 netns {neighbour_argument(neighbour)}"
        )
        netns.run_in(
            neighbour,
            lambda: sh(
                f"ip link set lo up && ip addr add {NEIGHBOUR}/24 dev eth9 && ip link set eth9 up"
            ),
        )
        yield Device(tmp_path / "run", neighbour)
    finally:
        enter(home)
        os.close(fd)
        os.close(home)
        netns.dismantle(pins)


def neighbour_argument(pin: pathlib.Path) -> str:
    """`ip link set netns` takes a name under /run/netns or a path."""
    return str(pin)


@pytest.fixture
async def net(device: Device) -> AsyncIterator[network.Network]:
    made = network.Network(device.settings())
    await made.start()
    assert made.health() is None
    try:
        yield made
    finally:
        await made.uninstall()
        await made.close()
