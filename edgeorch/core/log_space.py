"""Which logs make room when all together are above the device's limit.

The container that has most gives first, and of it the oldest file, so that one that talks much does
not cost a quiet one its history. The files that are written now come last, the biggest first.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

ROOM = 0.9
"""Share of the limit that is left in use, so that it is not reached again at once."""


class File(Struct, frozen=True):
    path: str
    container: str
    """Whose it is: the folder of all its logs."""
    attempt: int
    stamp: str
    """When it was rotated, in a form that sorts; "" for the file that a container writes to."""
    size: int


class Decision(Struct, frozen=True):
    remove: tuple[File, ...] = ()
    empty: tuple[File, ...] = ()
    """Newest files of containers, of which there is nothing older left."""


class _Container(Struct):
    size: int = 0
    files: list[File] = field(default_factory=list)


def written_no_more(files: Iterable[File]) -> list[File]:
    """All but the newest file of each container."""
    newest: dict[str, int] = {}
    listed = list(files)
    for file in listed:
        newest[file.container] = max(newest.get(file.container, 0), file.attempt)
    return [f for f in listed if f.stamp or f.attempt < newest[f.container]]


def decide(files: Iterable[File], limit: int) -> Decision:
    containers: dict[str, _Container] = {}
    for file in files:
        found = containers.setdefault(file.container, _Container())
        found.size += file.size
        found.files.append(file)
    excess = sum(container.size for container in containers.values()) - limit
    if excess <= 0:
        return Decision()
    excess += int(limit * (1 - ROOM))
    for container in containers.values():
        # Oldest last; without a stamp is the newest of its attempt.
        container.files.sort(key=lambda f: (f.attempt, not f.stamp, f.stamp), reverse=True)
    remove = []
    while excess > 0:
        older = [c for c in containers.values() if len(c.files) > 1]
        if not older:
            break
        biggest = max(older, key=lambda c: c.size)
        file = biggest.files.pop()
        biggest.size -= file.size
        excess -= file.size
        remove.append(file)
    empty = []
    for container in sorted(containers.values(), key=lambda c: c.size, reverse=True):
        if excess <= 0:
            break
        empty += container.files
        excess -= container.size
    return Decision(tuple(remove), tuple(empty))
