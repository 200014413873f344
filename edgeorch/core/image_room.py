"""Whether layers that are to come have room where they are unpacked, and what is left then."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from edgeorch.core import pressure

UNPACKED = 2
"""What is unpacked is no smaller than what it is unpacked from, which stays."""


class Room(Struct, frozen=True):
    """Bytes: `missing` is what is not here of the layers, `free` what root may use, `available`
    what everybody may, which is what pressure goes by."""

    missing: int
    free: int
    available: int
    capacity: int
    root: str


class Lack(Struct, frozen=True):
    """How many bytes more there would have to be, and what for."""

    bytes: int
    told: str


def shortage(room: Room) -> str | None:
    """Why they can never be unpacked; None when there may be room."""
    if not room.missing or room.free >= UNPACKED * room.missing:
        return None
    return (
        f"no space left on device: {_mb(room.missing)} of layers are to come and at least "
        f"as much again when they are unpacked, but only {_mb(room.free)} are free at {room.root}"
    )


def pressing(
    room: Room, rules: pressure.Policy, signals: Collection[pressure.Signal]
) -> Lack | None:
    """What lacks for them to come without the device being short of disk then. `signals` are about
    the file system that they go to."""
    needed = UNPACKED * room.missing
    left = room.available - needed
    floors = [
        (each.value.of(room.capacity), each.signal.value)
        for each in rules.thresholds
        if each.signal in signals
    ]
    floor, name = max(floors, default=(0, ""))
    lacking = max(needed - room.free, floor - left if floors else 0)
    if not needed or lacking <= 0:
        return None
    told = shortage(room) or (
        f"{_mb(room.missing)} of layers are to come and at least as much again when they are "
        f"unpacked: of {_mb(room.available)} at {room.root} that leaves {_mb(left)}, and below "
        f"{_mb(floor)} of {name} the device has DiskPressure"
    )
    return Lack(lacking, told)


def _mb(amount: int) -> str:
    return f"{amount / 1e6:.1f} MB"
