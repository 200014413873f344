"""Random access to the members of a tar file, plain or packed, without unpacking it.

A packed tar is written plain into the work directory first: members are needed in another order
than they come in, and seeking in it would mean inflating again. The headers are read once, so
memory grows with the number of members only. Names are normalised (`./a/../b` → `b`) and hard or
symbolic links resolved inside the archive: nothing outside it is ever opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import posixpath
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from edgeorch.runtime import errors

_LINKS = 8
_MEMBERS = 10_000


class _Member(Struct, frozen=True):
    offset: int
    size: int
    link: str = ""


class Tarball:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members = _scan(file)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def size(self, name: str) -> int:
        return self._get(name).size

    def read(self, name: str, limit: int) -> bytes:
        """A small member, whole."""
        member = self._get(name)
        if member.size > limit:
            raise errors.BadArchive(f"{name} has {member.size} bytes, more than {limit}")
        with self.member(name) as source:
            return source.read(member.size)

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[MemberReader]:
        member = self._get(name)
        yield MemberReader(self._file.fileno(), member.offset, member.size, name)

    def _get(self, name: str) -> _Member:
        member = self._find(name)
        if member is None:
            raise errors.BadArchive(f"{name} is missing")
        return member

    def _find(self, name: str) -> _Member | None:
        for _ in range(_LINKS):
            member = self._members.get(posixpath.normpath(name))
            if member is None or not member.link:
                return member
            name = member.link
        return None


class MemberReader:
    """Reads one member by position, so that several may be read at once."""

    def __init__(self, fd: int, offset: int, size: int, name: str) -> None:
        self._fd = fd
        self._offset = offset
        self._left = size
        self._name = name

    def read(self, size: int, /) -> bytes:
        if not self._left:
            return b""
        data = os.pread(self._fd, min(size, self._left), self._offset)
        if not data:
            raise errors.BadArchive(f"the archive ends within {self._name}")
        self._offset += len(data)
        self._left -= len(data)
        return data


def _scan(file: BinaryIO) -> dict[str, _Member]:
    import tarfile  # rarely needed, so not at start

    members: dict[str, _Member] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for entry in tar:
                name = posixpath.normpath(entry.name)
                if entry.isreg():
                    members[name] = _Member(entry.offset_data, entry.size)
                elif entry.issym():
                    link = posixpath.join(posixpath.dirname(name), entry.linkname)
                    members[name] = _Member(0, 0, posixpath.normpath(link))
                elif entry.islnk():
                    members[name] = _Member(0, 0, posixpath.normpath(entry.linkname))
                if len(members) > _MEMBERS:
                    raise errors.BadArchive(f"more than {_MEMBERS} members")
    except (tarfile.TarError, UnicodeError, ValueError) as error:
        raise errors.BadArchive(f"cannot read it as a tar archive: {error}") from error
    return members


@contextlib.asynccontextmanager
async def opened(path: Path, work_dir: Path) -> AsyncIterator[Tarball]:
    """Raises BadArchive when the file cannot be read as a tar."""
    file = await asyncio.to_thread(_open, path, work_dir)
    try:
        yield await asyncio.to_thread(Tarball, file)
    finally:
        file.close()


def _open(path: Path, work_dir: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise errors.BadArchive(error.strerror or str(error)) from error
    try:
        magic = file.read(4)
        file.seek(0)
    except OSError as error:
        file.close()
        raise errors.BadArchive(error.strerror or str(error)) from error
    inflate = _inflater(magic)
    if inflate is None:
        return file
    with file:
        return _inflated(file, work_dir, inflate)


def _inflater(magic: bytes) -> Callable[[BinaryIO, BinaryIO], None] | None:
    if magic.startswith(b"\x1f\x8b"):
        return _gunzip
    return _unzstd if magic == b"\x28\xb5\x2f\xfd" else None


def _inflated(
    file: BinaryIO, work_dir: Path, inflate: Callable[[BinaryIO, BinaryIO], None]
) -> BinaryIO:
    try:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        plain = tempfile.TemporaryFile(dir=work_dir)  # noqa: SIM115 - outlives this function
    except OSError as error:
        raise errors.BadArchive(f"no place to inflate it: {error}") from error
    try:
        inflate(file, plain)
        plain.flush()
        plain.seek(0)
    except (OSError, EOFError, zlib.error) as error:
        plain.close()
        raise errors.BadArchive(f"cannot inflate it: {error}") from error
    except BaseException:
        plain.close()
        raise
    return plain


def _gunzip(file: BinaryIO, plain: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=file) as source:
        shutil.copyfileobj(source, plain, 256 * 1024)


def _unzstd(file: BinaryIO, plain: BinaryIO) -> None:
    """By the program of that name: Python knows zstd from 3.14 on, and this is rare."""
    program = shutil.which("zstd")
    if program is None:
        raise errors.BadArchive("zstd is not installed: apt install zstd, or pack it with gzip")
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # behind Python's back, which has read ahead
    done = subprocess.run(
        [program, "-q", "-d", "-c"], stdin=file, stdout=plain, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip()
        raise errors.BadArchive(f"cannot inflate it: {told}")
