"""Files that change all at once, through a `..data` symbolic link, as the kubelet's AtomicWriter.

Readers see all of the old files or all of the new ones. Repeatable after a crash at any point.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import NamedTuple

_FOLDER = 0o777
_DIRECTORY = 0o755
_GROUP_READS = 0o440
_GROUP_ENTERS = 0o2550
"""With the bit that hands the group on."""


class File(NamedTuple):
    data: bytes
    mode: int
    owner: int | None = None
    """Uid; None: that of edgeorch."""


Files = dict[str, File]
"""By path in the volume."""


def write(folder: pathlib.Path, files: Files, group: int | None = None) -> None:
    """Make `folder` show `files`. `group`: gid that may read all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    _give(folder, _FOLDER, group)
    link = folder / "..data"
    before = os.readlink(link) if link.is_symlink() else ""
    if group is not None:
        files = {path: file._replace(mode=file.mode | _GROUP_READS) for path, file in files.items()}
    names = {path.split("/", 1)[0] for path in files}
    if before and _holds(folder / before, files):
        _show(folder, names)
        return
    stamp = f"..{os.urandom(8).hex()}"
    _fill(folder / stamp, files, group)
    scratch = folder / "..data_tmp"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(stamp)
    scratch.replace(link)
    _show(folder, names)
    for entry in folder.iterdir():
        if entry.name.startswith("..") and entry.name not in (stamp, "..data"):
            shutil.rmtree(entry, ignore_errors=True)


def _fill(fresh: pathlib.Path, files: Files, group: int | None) -> None:
    fresh.mkdir()
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Running containers see it before it has its mode.
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "wb") as written:
            written.write(file.data)
        os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)
        target.chmod(file.mode)
    for inner in fresh.rglob("*"):
        if inner.is_dir():
            _give(inner, _DIRECTORY, group)
    _give(fresh, _DIRECTORY, group)


def _give(directory: pathlib.Path, mode: int, group: int | None) -> None:
    if group is not None:
        os.chown(directory, -1, group)
        mode |= _GROUP_ENTERS
    directory.chmod(mode)


def _show(folder: pathlib.Path, names: set[str]) -> None:
    """Each first path component is a link through `..data`."""
    for name in names:
        entry = folder / name
        if not entry.is_symlink():
            entry.symlink_to(f"..data/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _holds(folder: pathlib.Path, files: Files) -> bool:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if there != set(files):
        return False
    return all(_is_same(folder / path, file) for path, file in files.items())


def _is_same(path: pathlib.Path, file: File) -> bool:
    found = path.stat()
    if found.st_mode & 0o7777 != file.mode:
        return False
    if file.owner is not None and found.st_uid != file.owner:
        return False
    return path.read_bytes() == file.data
