"""What a tree takes is what du says."""

from __future__ import annotations

import os
import pathlib
import subprocess

from edgeorch.lib import disk


def test_a_tree_counts_as_du_counts_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/big").write_bytes(os.urandom(300_000))
    (tmp_path / "a/b/small").write_text("x")
    os.link(tmp_path / "a/big", tmp_path / "a/b/again")
    os.symlink("/", tmp_path / "a/root")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    blocks = subprocess.run(
        ["du", "-s", "-x", "-B1", str(tmp_path)], capture_output=True, text=True, check=True
    )
    inodes = subprocess.run(
        ["du", "-s", "-x", "--inodes", str(tmp_path)], capture_output=True, text=True, check=True
    )

    found = disk.tree(tmp_path)
    assert found.bytes == int(blocks.stdout.split()[0])
    assert found.inodes == int(inodes.stdout.split()[0])


def test_what_is_not_there_takes_nothing(tmp_path: pathlib.Path) -> None:
    assert disk.tree(tmp_path / "gone") == disk.Usage()
    (tmp_path / "file").write_bytes(b"x" * 5000)
    assert disk.tree(tmp_path / "file").inodes == 1


def test_a_file_system_is_what_the_kernel_says(tmp_path: pathlib.Path) -> None:
    found = disk.file_system(tmp_path)
    assert 0 <= found.available <= found.capacity
    assert 0 < found.used <= found.capacity
