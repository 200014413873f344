"""What is read of the kernel adds up, in either version of cgroups."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.agent import counters

MEMORY = """\
anon 4096
inactive_file 1000
pgfault 7
pgmajfault 1
total_rss 4096
total_inactive_file 1000
total_pgfault 7
total_pgmajfault 1
total_swap 0
"""
WANTED = counters.Counters(
    cpu=5000, working_set=9000, usage=10_000, rss=4096, faults=7, major_faults=1,
    limit=20_000, swap=0, processes=3,
)  # fmt: skip


def write(folder: pathlib.Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture(autouse=True)
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(counters, "CGROUP", tmp_path)
    return tmp_path


def test_version_two(root: pathlib.Path) -> None:
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    write(
        root / "a/b",
        cpu__stat="usage_usec 5\nuser_usec 3\n",
        memory__stat=MEMORY,
        memory__current="10000\n",
        memory__max="20000\n",
        pids__current="3\n",
    )
    assert counters.read(["/a/b", "/gone"]) == {"/a/b": WANTED}
    (root / "a/b/memory.max").write_text("max\n")
    assert counters.read(["/a/b"])["/a/b"].available is None


def test_version_one(root: pathlib.Path) -> None:
    write(root / "cpuacct/a", cpuacct__usage="5000\n")
    write(root / "pids/a", pids__current="3\n")
    write(
        root / "memory/a",
        memory__stat=MEMORY,
        memory__usage_in_bytes="10000\n",
        memory__limit_in_bytes="20000\n",
    )
    found = counters.read(["/a"])["/a"]
    assert found == WANTED
    assert found.available == 11_000
    (root / "memory/a/memory.limit_in_bytes").write_text(f"{(1 << 63) - 4096}\n")
    assert counters.read(["/a"])["/a"].limit is None


def test_the_machine() -> None:
    found = counters.read([counters.MACHINE])[counters.MACHINE]
    assert found.cpu > 0
    assert 0 < found.working_set <= (found.limit or 0)


def test_interfaces_are_those_of_a_process() -> None:
    assert "lo" in {each.name for each in counters.interfaces()}
    assert counters.interfaces("no such process") == []
