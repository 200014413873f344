"""Much data through exec and port-forward: it arrives whole, and the device's memory stays flat.

64 MiB each way; a gigabyte under EDGEORCH_SOAK=1.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import clients, manifests
from . import lab as labs

MIB = 1 << 20
SIZE = labs.rounds(64, 1024) * MIB
GROWTH = 16 * MIB
PIECE = b"all work and no play makes jack a dull boy\n"
NAMESPACE = "bulk"
N = ("-n", NAMESPACE)
# A kubectl that speaks SPDY, and one that speaks WebSocket.
VERSIONS = sorted({labs.kubectl_generations()[0], labs.kubectl_generations()[-1]})
SERVES = (
    f"yes '{PIECE.decode().strip()}' | head -c {SIZE} >/tmp/big; "
    "exec nc -ll -p 7000 -e cat /tmp/big"
)


@pytest.fixture(scope="module", autouse=True)
def pod(lab: labs.Lab) -> Iterator[None]:
    lab.kubectl("create", "namespace", NAMESPACE)
    lab.apply(manifests.pod("big", manifests.container(SERVES)), *N)
    lab.wait("pod/big", "condition=Ready", *N)
    listens = ("exec", "big", *N, "--", "sh", "-c", "netstat -ltn | grep -q :7000")
    labs.until(lambda: lab.try_kubectl(*listens).returncode == 0, "the file is there")
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", seconds=70)


class Memory:
    """The most that edgeorch's own process takes of memory beyond what it took at first."""

    def __init__(self, lab: labs.Lab) -> None:
        self._file = Path(f"/proc/{lab.pid}/smaps_rollup")
        self._before = self._now()
        self.growth = 0

    def look(self) -> None:
        self.growth = max(self.growth, self._now() - self._before)

    def _now(self) -> int:
        (line,) = (row for row in self._file.read_text().splitlines() if row.startswith("Pss:"))
        return int(line.split()[1]) * 1024


def wanted() -> str:
    digest = hashlib.sha256()
    block = PIECE * 1000
    for start in range(0, SIZE, len(block)):
        digest.update(block[: SIZE - start])
    return digest.hexdigest()


@pytest.mark.timeout(labs.rounds(180, 1800))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_big_file_is_shown_and_taken(lab: labs.Lab, version: str) -> None:
    program = str(labs.kubectls()[version])
    command, env = lab.command(program, "exec", "-i", "big", *N, "--", "cat", "/tmp/big")
    digest = hashlib.sha256()
    memory = Memory(lab)
    back, _ = lab.command(program, "exec", "-i", "big", *N, "--", "sha256sum")
    with (
        subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as out,
        subprocess.Popen(back, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taking,
    ):
        assert out.stdout
        assert taking.stdin
        assert taking.stdout
        while piece := out.stdout.read(4 * MIB):
            digest.update(piece)
            taking.stdin.write(piece)
            memory.look()
        taking.stdin.close()
        told = taking.stdout.read().decode().split()[0]
    assert (out.returncode, taking.returncode) == (0, 0)
    assert digest.hexdigest() == told == wanted()
    assert memory.growth < GROWTH


@pytest.mark.timeout(labs.rounds(180, 1800))
@pytest.mark.parametrize("version", VERSIONS)
def test_much_comes_through_a_forwarded_port(lab: labs.Lab, version: str) -> None:
    with lab.background("port-forward", "pod/big", ":7000", *N, version=version) as forward:
        port = int(forward.until("Forwarding from 127").split(":")[1].split()[0])
        memory = Memory(lab)
        digest = hashlib.sha256()
        with clients.in_netns(
            lab.device.netns, lambda: socket.create_connection(("127.0.0.1", port))
        ) as connection:
            while piece := connection.recv(MIB):
                digest.update(piece)
                memory.look()
    assert digest.hexdigest() == wanted()
    assert memory.growth < GROWTH
