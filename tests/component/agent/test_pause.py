"""The first process of a shared PID namespace: alone, without rights, cleaning up after others."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from edgeorch.agent import machine, pause

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

UID = "0b6a-pause-test"


@pytest.fixture
def pauses(tmp_path: pathlib.Path) -> Iterator[pause.Pauses]:
    made = pause.Pauses(machine.read().architecture)
    yield made
    made.end(UID, tmp_path)


def _status(pid: int) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def _within(folder: pathlib.Path, script: str) -> str:
    command = ["nsenter", f"--pid={folder}/pid", "sh", "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _inside(folder: pathlib.Path) -> set[int]:
    """Host pids of what is in the namespace."""
    wanted, found = os.stat(folder / "pid").st_ino, set()
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(entry / "ns/pid").st_ino == wanted:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_it_has_no_rights_and_sees_nothing_of_the_host(
    pauses: pause.Pauses, tmp_path: pathlib.Path
) -> None:
    pid = pauses.start(UID, tmp_path)
    status = _status(pid)
    assert status["NSpid"].split()[-1] == "1"
    assert status["Uid"].split()[0] == "65535"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert os.listdir(f"/proc/{pid}/root") == ["pause"]
    assert len(pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()) == 1
    with pytest.raises(OSError, match="Read-only"):
        pathlib.Path(f"/proc/{pid}/root/x").touch()


def test_orphans_are_cleared_away_and_nobody_inside_can_kill_it(
    pauses: pause.Pauses, tmp_path: pathlib.Path
) -> None:
    pid = pauses.start(UID, tmp_path)
    _within(tmp_path, "(sleep 0.05 &); (true &); kill -9 1; kill 1")
    _until(lambda: _inside(tmp_path) == {pid}, "orphans ended and were waited for")
    assert pauses.stands(tmp_path, pid)


def test_another_process_of_ours_finds_it_and_ends_all(
    pauses: pause.Pauses, tmp_path: pathlib.Path
) -> None:
    pid = pauses.start(UID, tmp_path)
    sleeper = subprocess.Popen(["nsenter", f"--pid={tmp_path}/pid", "sleep", "1000"])
    later = pause.Pauses(machine.read().architecture)
    _until(lambda: len(_inside(tmp_path)) == 2, "the sleeper is inside")
    assert later.stands(tmp_path, pid)
    later.end(UID, tmp_path)
    assert sleeper.wait(10) != 0
    assert not pauses.stands(tmp_path, pid)
    assert not (tmp_path / "pid").exists()


def test_its_end_is_noticed_and_a_new_one_takes_its_place(
    pauses: pause.Pauses, tmp_path: pathlib.Path
) -> None:
    pid = pauses.start(UID, tmp_path)
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not pauses.stands(tmp_path, pid), "its end is seen")
    again = pauses.start(UID, tmp_path)
    assert pauses.stands(tmp_path, again)


def test_one_whose_pin_was_not_made_any_more_is_ended_too(
    pauses: pause.Pauses, tmp_path: pathlib.Path
) -> None:
    pid = pauses.start(UID, tmp_path)
    subprocess.run(["umount", tmp_path / "pid"], check=True)
    pauses.end(UID, tmp_path)
    assert not pathlib.Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("architecture", ["amd64", "arm64", "arm"])
def test_the_program_is_one_small_elf_file(architecture: str) -> None:
    made = pause.program(architecture)
    assert made.startswith(b"\x7fELF")
    assert len(made) < 256


def test_an_unknown_architecture_says_so() -> None:
    with pytest.raises(OSError, match="not supported on riscv64"):
        pause.program("riscv64")
