"""Whether layers that are to come have room, also so that no pressure comes of it."""

from __future__ import annotations

import pytest

from edgeorch.core import image_room, pressure
from edgeorch.core.pressure import Signal

MB = 1_000_000
APART = {Signal.IMAGEFS}
TOGETHER = {Signal.IMAGEFS, Signal.NODEFS}
USUAL = pressure.policy({"nodefs.available": "10%", "imagefs.available": "15%"}, {}, {}, {})


def _room(missing: int, available: int, free: int | None = None) -> image_room.Room:
    free = available if free is None else free
    return image_room.Room(missing * MB, free * MB, available * MB, 1000 * MB, "/images")


def test_what_is_to_come_is_there_twice() -> None:
    assert image_room.shortage(_room(50, 0, free=100)) is None
    assert image_room.shortage(_room(0, 0)) is None
    assert image_room.shortage(_room(50, 99)) == (
        "no space left on device: 50.0 MB of layers are to come and at least as much again when "
        "they are unpacked, but only 99.0 MB are free at /images"
    )


@pytest.mark.parametrize(
    ("room", "rules", "signals", "lacking"),
    [
        pytest.param(_room(50, 250), USUAL, APART, 0, id="just enough is left"),
        pytest.param(_room(50, 249), USUAL, APART, 1, id="just not"),
        pytest.param(_room(50, 99), USUAL, APART, 151, id="not even for the layers"),
        pytest.param(_room(0, 10), USUAL, APART, 0, id="nothing is to come"),
        pytest.param(
            _room(50, 300),
            pressure.policy({"nodefs.available": "250M", "imagefs.available": "15%"}, {}, {}, {}),
            TOGETHER,
            50,
            id="the greatest of all that are about it",
        ),
        pytest.param(
            _room(50, 300),
            pressure.policy({"nodefs.available": "250M", "imagefs.available": "15%"}, {}, {}, {}),
            APART,
            0,
            id="none of another file system",
        ),
        pytest.param(
            _room(50, 300),
            pressure.policy({}, {"imagefs.available": "22%"}, {"imagefs.available": 60.0}, {}),
            APART,
            20,
            id="soft ones, too",
        ),
        pytest.param(
            _room(50, 60, free=100), pressure.policy({}, {}, {}, {}), APART, 0,
            id="without thresholds root may use the rest",
        ),
        pytest.param(
            _room(50, 60, free=99), pressure.policy({}, {}, {}, {}), APART, 1,
            id="and no more than that",
        ),
    ],
)  # fmt: skip
def test_pressure(
    room: image_room.Room, rules: pressure.Policy, signals: set[Signal], lacking: int
) -> None:
    found = image_room.pressing(room, rules, signals)
    assert (found.bytes if found else 0) == lacking * MB


def test_the_figures_are_told() -> None:
    found = image_room.pressing(_room(50, 200), USUAL, APART)
    assert found
    assert found.told == (
        "50.0 MB of layers are to come and at least as much again when they are unpacked: of "
        "200.0 MB at /images that leaves 100.0 MB, and below 150.0 MB of imagefs.available the "
        "device has DiskPressure"
    )
    full = image_room.pressing(_room(50, 20), USUAL, APART)
    assert full
    assert full.told.startswith("no space left on device: ")
