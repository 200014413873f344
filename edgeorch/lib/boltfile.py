"""Whether a bolt database can be read: every page that its newest transaction reaches.

containerd keeps what it knows in such files and does not start, or panics, when one is damaged.
Only read, and only while nobody has it open. Blocks. Format: go.etcd.io/bbolt (page.go, meta.go).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_PAGE = struct.Struct("<QHHI")
"""Number, flags, elements, pages that follow it."""
_META = struct.Struct("<IIIIQQQQQQ")
"""Magic, version, page size, flags, root page and sequence, free list, pages, transaction, sum."""
_BRANCH = struct.Struct("<IIQ")
_LEAF = struct.Struct("<IIII")
_BUCKET = struct.Struct("<QQ")
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH_PAGE, _LEAF_PAGE, _FREE_PAGE = 0x01, 0x02, 0x10
_IN_BUCKET = 0x01
_NO_FREE_LIST = 2**64 - 1
_SIZES = (4096, 8192, 16384, 65536)


class _Damaged(Exception):
    pass


def problem(path: Path) -> str | None:
    """What is wrong with it; None when it can be read, or is not there. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _check(handle)
    except _Damaged as error:
        return str(error)
    except struct.error:
        return "a page ends too early"
    finally:
        os.close(handle)
    return None


def _check(handle: int) -> None:
    found = [meta for size in _SIZES for number in (0, 1) if (meta := _meta(handle, number, size))]
    if not found:
        raise _Damaged("no valid meta page")
    size, root, free, pages, _ = max(found, key=lambda meta: meta[4])
    if os.fstat(handle).st_size < pages * size:
        raise _Damaged(f"it is cut short: {pages} pages of {size} bytes are missing some")
    if free != _NO_FREE_LIST:
        _page(handle, free, size, pages, (_FREE_PAGE,))
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise _Damaged(f"page {number} is reached twice")
        seen.add(number)
        waiting += _children(*_page(handle, number, size, pages, (_BRANCH_PAGE, _LEAF_PAGE)))


def _meta(handle: int, number: int, size: int) -> tuple[int, int, int, int, int] | None:
    """Page size, root, free list, pages, transaction."""
    raw = os.pread(handle, _PAGE.size + _META.size, number * size)
    if len(raw) < _PAGE.size + _META.size:
        return None
    body = raw[_PAGE.size :]
    magic, version, told, _, root, _, free, pages, transaction, checksum = _META.unpack(body)
    if (magic, version, told) != (_MAGIC, _VERSION, size) or checksum != _fnv(body[:-8]):
        return None
    return size, root, free, pages, transaction


def _fnv(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = ((found ^ byte) * 0x100000001B3) & (2**64 - 1)
    return found


def _page(
    handle: int, number: int, size: int, pages: int, kinds: tuple[int, ...]
) -> tuple[int, int, bytes]:
    """Kind, elements, and all bytes of a page."""
    if not 2 <= number < pages:
        raise _Damaged(f"page {number} of {pages} is referred to")
    told, flags, count, more = _PAGE.unpack(os.pread(handle, _PAGE.size, number * size))
    if told != number or flags not in kinds or number + more >= pages:
        raise _Damaged(f"page {number} is no such page")
    return flags, count, os.pread(handle, (more + 1) * size, number * size)


def _children(flags: int, count: int, raw: bytes) -> list[int]:
    found = []
    for index in range(count):
        at = _PAGE.size + index * _BRANCH.size
        if flags == _BRANCH_PAGE:
            position, key, child = _BRANCH.unpack_from(raw, at)
            _within(raw, at, position, key)
            found.append(child)
        else:
            kind, position, key, value = _LEAF.unpack_from(raw, at)
            _within(raw, at, position, key + value)
            if kind & _IN_BUCKET:
                found += _bucket(raw[at + position + key : at + position + key + value])
    return found


def _within(raw: bytes, at: int, position: int, length: int) -> None:
    if at + position + length > len(raw):
        raise _Damaged("an element reaches beyond its page")


def _bucket(value: bytes) -> list[int]:
    """The page of a bucket, or those of the buckets in one that is small enough to stand inline."""
    root, _ = _BUCKET.unpack_from(value)
    if root:
        return [root]
    inline = value[_BUCKET.size :]
    _, flags, count, _ = _PAGE.unpack_from(inline)
    if flags != _LEAF_PAGE:
        raise _Damaged("an inline bucket is no leaf")
    return _children(flags, count, inline)
