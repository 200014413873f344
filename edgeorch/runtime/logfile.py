"""Log files on disk: appending with rotation, compressing, reading across rotated files, the tail.

Blocking code, called in threads. A log is `<n>.log` and up to `max_files - 1` rotated ones beside
it: `<n>.log.20261122-170000`, the older of them compressed to `<n>.log.20261122-170000.gz`, as the
kubelet names and keeps them (pkg/kubelet/logs/container_log_manager.go). They sort by that stamp in
the order they were written, also when the clock stood still or went back. Only whole entries are
appended, so every file ends with a newline, and rotation falls between entries.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

MAX_SIZE = 10 * 1024 * 1024
MAX_FILES = 5
BLOCK = 64 * 1024
ZIPPED = ".gz"
_UNDER_WAY = ".tmp"
_STAMP = "%Y%m%d-%H%M%S"
_LEVEL = 1
_GZIP_FORMAT = 31
_REMEMBERED = 64
_TRIES = 10
"""Files may be rotated, compressed or removed between being listed and being opened."""


def rotated(path: Path) -> list[Path]:
    """The rotated files of a log, oldest first, each as it is or compressed."""
    prefix = path.name + "."
    try:
        names = [name for name in os.listdir(path.parent) if name.startswith(prefix)]
    except FileNotFoundError:
        return []
    found: dict[str, str] = {}
    for name in sorted(names):  # a plain file comes before its compressed form, and wins
        if not name.endswith(_UNDER_WAY):
            found.setdefault(name.removesuffix(ZIPPED), name)
    return [path.parent / found[plain] for plain in sorted(found)]


class Appender:
    """The one writer of a log."""

    def __init__(self, path: Path, *, max_size: int = MAX_SIZE, max_files: int = MAX_FILES) -> None:
        self.path = path
        self.size = 0
        self.inode = 0
        self.rotations = 0
        self.renamed: dict[int, str] = {}
        """What files became when they were rotated, by inode: for cursors that stand in them."""
        self._max_size = max_size
        self._max_files = max_files
        self._fd = -1

    def write(self, entries: bytes, now: datetime.datetime) -> None:
        """Raises OSError; the file is then tried anew next time."""
        self.open()
        view = memoryview(entries)
        while view:
            piece = self._fitting(entries, len(entries) - len(view))
            if not piece:
                self.rotate(now)
                continue
            try:
                while piece:
                    count = os.write(self._fd, piece)
                    self.size += count
                    view, piece = view[count:], piece[count:]
            except OSError:
                self.close()  # the next write begins a line of its own
                raise

    def _fitting(self, entries: bytes, begin: int) -> memoryview:
        """As many entries as the file may still take; an empty one takes one at least."""
        end = len(entries)
        room = self._max_size - self.size
        if end - begin > room:
            end = max(begin, entries.rfind(b"\n", begin, begin + max(0, room)) + 1)
            if end == begin and not self.size:
                end = entries.index(b"\n", begin) + 1
        return memoryview(entries)[begin:end]

    def open(self) -> None:
        """Make the file, so that it is there before the first line."""
        if self._fd < 0:
            self._open()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def cut(self, inode: int, size: int) -> None:
        """Take back what was written after the file `inode` was of that size. Raises OSError."""
        files = [*rotated(self.path), self.path]
        found = [_inode(file) for file in files]
        if inode not in found:
            return
        place = found.index(inode)
        for file in files[place + 1 :]:
            file.unlink(missing_ok=True)
        if files[place].stat().st_size > size:
            os.truncate(files[place], size)
        self.close()
        self.open()

    def rotate(self, now: datetime.datetime) -> None:
        """Raises OSError."""
        older = rotated(self.path)
        name = self.path.name + "." + now.strftime(_STAMP)
        newest = older[-1].name.removesuffix(ZIPPED) if older else ""
        if name <= newest:
            name = _after(newest)
        self.close()
        self.renamed.pop(self.inode, None)
        self.renamed[self.inode] = name
        if len(self.renamed) > _REMEMBERED:
            del self.renamed[next(iter(self.renamed))]
        self.path.rename(self.path.with_name(name))
        for path in older[: max(0, len(older) + 2 - self._max_files)]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self.rotations += 1
        self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            found = os.fstat(fd)
            self.size, self.inode = found.st_size, found.st_ino
            # A power cut may have torn the last entry.
            if self.size and os.pread(fd, 1, self.size - 1) != b"\n":
                self.size += os.write(fd, b"\n")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd


def _after(name: str) -> str:
    """A name one second after a rotated file's."""
    base, _, stamp = name.rpartition(".")
    try:
        moment = datetime.datetime.strptime(stamp, _STAMP).replace(tzinfo=datetime.UTC)
    except ValueError:
        return name + "-1"  # not ours; sorts after it
    return f"{base}.{(moment + datetime.timedelta(seconds=1)).strftime(_STAMP)}"


def uncompressed(path: Path, settled: int) -> list[Path]:
    """The rotated files of a log that are to be compressed: all but the newest.

    Only what is older than the file `settled`, an inode: what was written from there on may yet be
    taken back by `Appender.cut`, which looks for that file.
    """
    files = rotated(path)
    inodes = [_inode(file) for file in files]
    end = inodes.index(settled) if settled in inodes else len(files)
    return [file for file in files[: min(end, len(files) - 1)] if file.suffix != ZIPPED]


def compress(path: Path) -> None:
    """A rotated file becomes PATH.gz. Raises OSError; what was there stays then."""
    under_way = path.with_name(path.name + _UNDER_WAY)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    try:
        with path.open("rb", 0) as source, under_way.open("wb", 0) as target:
            os.fchmod(target.fileno(), 0o640)
            while block := source.read(BLOCK):
                target.write(packer.compress(block))
            target.write(packer.flush())
            # A power cut must not leave neither.
            os.fsync(target.fileno())
        under_way.rename(path.with_name(path.name + ZIPPED))
    except OSError:
        under_way.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def make_link(link: Path, path: Path) -> None:
    """`link` leads to `path`. For log shippers only: nothing fails for want of it."""
    try:
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            link.symlink_to(path)
        except FileExistsError:
            if not link.is_symlink() or link.readlink() != path:
                log.warning("Cannot make %s: there is something else", link)
    except OSError as error:
        log.warning("Cannot make the link %s: %s", link, error)


def remove_dead_links(folder: Path, logs: Path) -> None:
    """Links into `logs` that lead nowhere any more."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                inside = Path(os.readlink(entry.path)).is_relative_to(logs)
                if inside and not os.path.exists(entry.path):
                    os.unlink(entry.path)


class Cursor:
    """Reads a log from a place on, through rotations that happen meanwhile."""

    def __init__(
        self,
        path: Path,
        *,
        tail_lines: int | None = None,
        renamed: Mapping[int, str] | None = None,
    ) -> None:
        """Raises FileNotFoundError when there is no such log.

        `renamed` is the appender's, where one is at work.
        """
        self._path = path
        self._renamed: Mapping[int, str] = {} if renamed is None else renamed
        self._file: _Source | None = None
        for _ in range(_TRIES):
            older = rotated(path)
            found = _first([*older, path]) if tail_lines is None else _tail(older, path, tail_lines)
            if found is None:
                continue
            # The oldest of all, once it has been rotated, stays the oldest.
            is_first = tail_lines is None and bool(older)
            if is_first or _names(older) == _names(rotated(path)):
                self._file = found
                return
            found.close()  # rotated meanwhile: lines between may be missing
        raise FileNotFoundError(str(path))

    def read(self) -> bytes:
        """The next block; b"" at the end of what is written so far."""
        while self._file is not None:
            if data := self._file.read():
                return data
            following = self._following(self._file)
            if following is None:
                break
            if data := self._file.read():  # appended before it was rotated
                following.close()
                return data
            self._file.close()
            self._file = following
        return b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _following(self, here: _Source) -> _Source | None:
        """The file that was written after this one, if there is one."""
        for _ in range(_TRIES):
            # In this order: of a file that is not the live one any more, the list says its name.
            live = _inode(self._path)
            older = rotated(self._path)
            if here.path == self._path and live in (None, here.inode):
                return None
            place = self._place(here, older)
            # One that nobody knows was removed as too old: all that are left came after it.
            after = place or ""
            later = [file for file in older if file.name.removesuffix(ZIPPED) > after]
            found = _first([*later, self._path])
            if found is None:
                continue
            # Rotated since it was listed, the live file is not the next one any more.
            is_next = bool(later) or _names(older) == _names(rotated(self._path))
            if is_next and found.inode != here.inode:
                return found
            found.close()
        return None

    def _place(self, here: _Source, older: list[Path]) -> str | None:
        """What this file, which is not written any more, is called now, without .gz."""
        if here.path != self._path:
            return here.path.name.removesuffix(ZIPPED)
        known = self._renamed.get(here.inode)
        if known is None:
            known = next((file.name for file in older if _inode(file) == here.inode), None)
        return known


def _first(files: list[Path]) -> _Source | None:
    """None where it is not there any more: compressed since it was listed, or removed. The next one
    would not do, since what this one holds would be missing."""
    try:
        return _source(files[0])
    except FileNotFoundError:
        return None


def _names(older: list[Path]) -> list[str]:
    return [file.name.removesuffix(ZIPPED) for file in older]


def _tail(older: list[Path], path: Path, wanted: int) -> _Source | None:
    """The file in which the last `wanted` lines begin, at that place. None as for `_first`."""
    chosen: _Source | None = None
    for file in reversed([*older, path]):
        try:
            found = _source(file)
        except FileNotFoundError:
            if file == path:
                continue  # not yet made
            if chosen is not None:
                chosen.close()
            return None
        if chosen is not None:
            chosen.close()
        chosen = found
        wanted -= found.to_tail(wanted)
        if wanted <= 0:
            break
    return chosen


class _Source:
    """One open file of a log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self.fd).st_ino

    def read(self) -> bytes:
        return os.read(self.fd, BLOCK)

    def to_tail(self, wanted: int) -> int:
        """Go to where the last `wanted` lines begin; how many there are, at most that."""
        offset, found = tail_offset(self.fd, wanted)
        os.lseek(self.fd, offset, os.SEEK_SET)
        return found

    def close(self) -> None:
        os.close(self.fd)


class _Zipped(_Source):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._blocks = self._unpacked()
        self._ahead = b""

    def read(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or next(self._blocks, b"")

    def to_tail(self, wanted: int) -> int:
        """Unpacks twice, so that memory stays flat: once to count, once to skip."""
        total = sum(block.count(b"\n") for block in self._unpacked())
        self._blocks = self._unpacked()
        skip = max(0, total - wanted)
        while skip:
            block = next(self._blocks)
            count = block.count(b"\n")
            if count >= skip:
                at = 0
                for _ in range(skip):
                    at = block.index(b"\n", at) + 1
                self._ahead = block[at:]
                break
            skip -= count
        return min(total, wanted)

    def _unpacked(self) -> Iterator[bytes]:
        """From the beginning. A file that is torn ends where it is torn."""
        unpacker = zlib.decompressobj(_GZIP_FORMAT)
        position = 0
        with contextlib.suppress(zlib.error):
            while packed := os.pread(self.fd, BLOCK, position):
                position += len(packed)
                while packed:
                    if block := unpacker.decompress(packed, BLOCK):
                        yield block
                    packed = unpacker.unconsumed_tail
            while block := unpacker.decompress(unpacker.unconsumed_tail, BLOCK):
                yield block


def _source(path: Path) -> _Source:
    return _Zipped(path) if path.suffix == ZIPPED else _Source(path)


def tail_offset(fd: int, wanted: int) -> tuple[int, int]:
    """Where the last `wanted` lines of a file begin, and how many there are (at most that).

    Reads backwards in blocks: memory stays flat whatever the size.
    """
    end = os.fstat(fd).st_size
    if wanted <= 0 or not end:
        return end, 0
    found = 0
    position = end - 1  # the newline that ends the last line does not begin another
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        count = block.count(b"\n")
        if found + count >= wanted:
            return position + _nth_last(block, wanted - found) + 1, wanted
        found += count
    return 0, found + 1


def _nth_last(block: bytes, nth: int) -> int:
    at = len(block)
    for _ in range(nth):
        at = block.rindex(b"\n", 0, at)
    return at


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
