"""Which images go when the medium fills up: nobody's, the least recently used first.

Numbers and order as the kubelet's (pkg/kubelet/images/image_gc_manager.go). An image goes with all
its names or not at all; one that anything names, runs, pins or brings again stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

PIN_LABEL = "io.cri-containerd.pinned"
"""As containerd's CRI has it; its value is `pinned`."""


class Image(Struct, frozen=True):
    """One name of an image. `since` is when it was first seen, monotonic seconds."""

    name: str
    digest: str
    size: int
    since: float = 0.0
    pinned: bool = False


class Candidate(Struct, frozen=True):
    """An image that may go."""

    digest: str
    names: tuple[str, ...]
    size: int


class Thresholds(Struct, frozen=True):
    """In percent of the file system that are in use; seconds."""

    high: int = 85
    low: int = 80
    min_age: float = 120.0


def to_free(total: int, available: int, limits: Thresholds) -> int:
    """How many bytes have to go; 0 while the medium is not too full. 100 turns it off."""
    if total <= 0 or limits.high >= 100:
        return 0
    used = 100 - available * 100 // total
    if used < limits.high:
        return 0
    return max(0, total * (100 - limits.low) // 100 - available)


def candidates(
    images: Iterable[Image],
    keep: Collection[str],
    order: Sequence[str],
    now: float,
    min_age: float,
) -> list[Candidate]:
    """What may go, first what goes first. `keep` holds names and digests that must stay, `order`
    the names as they were used, the latest last; what was never used goes before all of them."""
    groups: dict[str, list[Image]] = {}
    for image in images:
        groups.setdefault(image.digest, []).append(image)
    last = {name: position for position, name in enumerate(order)}
    free = {
        digest: group
        for digest, group in groups.items()
        if not any(_stays(image, keep, now, min_age) for image in group)
    }
    return [
        Candidate(digest, tuple(sorted(image.name for image in group)), group[0].size)
        for digest, group in sorted(free.items(), key=lambda item: _age(item[1], last))
    ]


def _stays(image: Image, keep: Collection[str], now: float, min_age: float) -> bool:
    young = now - image.since < min_age
    return young or image.pinned or image.name in keep or image.digest in keep


def _age(group: list[Image], last: Mapping[str, int]) -> tuple[int, float, str]:
    used = max(last.get(image.name, -1) for image in group)
    return used, min(image.since for image in group), group[0].digest
