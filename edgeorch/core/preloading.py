"""Which archives of the preload folder are to be imported, from what is known of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd")


class Stamp(Struct, frozen=True):
    """What changes with a file's content: nanoseconds, bytes, inode."""

    modified: int
    size: int
    inode: int


class Record(Struct, frozen=True):
    """An archive that was dealt with: the images it gave, or why it gave none."""

    stamp: Stamp
    images: tuple[str, ...] = ()
    error: str = ""


def is_archive(name: str) -> bool:
    """Names that copying programs give to halves (`.a.tar.x`, `a.tar.part`) are none."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def due(
    found: Mapping[str, Stamp], known: Mapping[str, Record], present: Collection[str]
) -> list[str]:
    """Archives to import, by file name: new ones, changed ones, and those whose images are gone."""

    def wanted(name: str) -> bool:
        record = known.get(name)
        if record is None or record.stamp != found[name]:
            return True
        return not record.error and any(image not in present for image in record.images)

    return sorted(filter(wanted, found))


def given(records: Iterable[Record]) -> set[str]:
    """The images that the folder gives, which stay."""
    return {image for record in records for image in record.images}
