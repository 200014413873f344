"""What a power cut leaves of the files of a folder, at any step of a process that writes them.

`recorded` runs a program under recorder.c; `Disk` plays its steps back. Nothing that was not synced
is sure: of each file what came after its last sync is lost, kept, torn or kept in part, as the dice
have it, and so are names that were given or taken since any sync (fsync(2); ext4 and its like write
all such changes in order).
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_HEADER = struct.Struct("<cIIQ")
_SECTOR = 512
"""Bytes that a disk writes as one."""


@dataclass(frozen=True, slots=True)
class Step:
    what: str
    path: str
    offset: int
    data: bytes


def build(folder: Path) -> Path:
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    command = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-o",
        str(library),
        str(source),
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return library


def recorded(library: Path, program: Path, folder: Path, log: Path, *arguments: str) -> list[Step]:
    """What `program FOLDER ARGUMENTS` does to the folder, which is there already."""
    env: Mapping[str, str] = os.environ | {
        "LD_PRELOAD": str(library), "CUT_FOLDER": str(folder), "CUT_LOG": str(log),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, str(program), str(folder), *arguments], env=env, check=True)
    return list(_steps(log.read_bytes()))


def _steps(log: bytes) -> Iterator[Step]:
    at = 0
    while at < len(log):
        what, path_size, size, offset = _HEADER.unpack_from(log, at)
        at += _HEADER.size
        path, data = log[at : at + path_size], log[at + path_size : at + path_size + size]
        at += path_size + size
        yield Step(what.decode(), path.decode(), offset, data)


@dataclass(slots=True)
class _File:
    """`sure`: its content on the medium. `since`: what was done to it after the last sync."""

    sure: bytes = b""
    since: list[Step] = field(default_factory=list)
    is_named: bool = False
    """Its name is on the medium too."""


class Disk:
    """What is on the medium for sure, and what may be."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._gone: dict[str, _File] = {}
        """Names that were taken away or given to another since the folder was last synced."""

    def play(self, step: Step) -> None:
        match step.what:
            case "w" | "t":
                self._files.setdefault(step.path, _File()).since.append(step)
            case "s":
                file = self._files.setdefault(step.path, _File())
                for done in file.since:
                    file.sure = _done(file.sure, done)
                file.since.clear()
                # The journal that a sync writes out holds every name that came or went before.
                self._gone.clear()
                for each in self._files.values():
                    each.is_named = True
            case "u":
                self._take(step.path)
            case "r":
                moved = self._files.pop(step.path, _File())
                self._take(step.data.decode())
                self._files[step.data.decode()] = moved
            case other:
                raise AssertionError(other)

    def _take(self, path: str) -> None:
        file = self._files.pop(path, None)
        if file is not None and file.is_named:
            self._gone[path] = file

    def cut(self, folder: Path, dice: random.Random) -> None:
        """Write what is left, one of the many ways it may be."""
        for path, file in {**self._gone, **self._files}.items():
            if path in self._gone and path not in self._files and dice.random() < 0.5:
                continue
            if not file.is_named and dice.random() < 0.5:
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_left(file, dice))


def _left(file: _File, dice: random.Random) -> bytes:
    found = file.sure
    fate = dice.choice(("none", "all", "some", "torn"))
    for number, step in enumerate(file.since):
        last = number == len(file.since) - 1
        if fate == "none" or (fate == "some" and dice.random() < 0.5):
            continue
        if fate == "torn" and last and step.what == "w":
            kept = dice.randrange(0, len(step.data) + 1, _SECTOR) if len(step.data) > 1 else 0
            step = Step("w", step.path, step.offset, step.data[:kept])
        found = _done(found, step)
    return found


def _done(content: bytes, step: Step) -> bytes:
    if step.what == "t":
        return content[: step.offset].ljust(step.offset, b"\0")
    before = content[: step.offset].ljust(step.offset, b"\0")
    return before + step.data + content[step.offset + len(step.data) :]
