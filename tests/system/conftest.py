"""Devices for system tests. All of tests/system is marked `system` and needs root.

`lab` is one device for the whole session with the images of scripts/images loaded: keep to your
`namespace` on it and leave its edgeorch running. A test that stops or kills things, or wants
another configuration, makes a device of its own with `new_lab`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lablib import device as devices

from . import lab as labs

_OURS = re.compile(r"t(\d+)-\w+")
_counter = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.system)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


def _fresh() -> labs.Lab:
    """A name of this process's own: sessions side by side do not meet."""
    return labs.Lab(f"t{os.getpid()}-{next(_counter)}")


@pytest.fixture(scope="session")
def fresh_lab() -> Callable[[], labs.Lab]:
    """For a device that the tests of a module share: bring it up, and take it down."""
    return _fresh


@pytest.fixture(scope="session")
def no_stale_labs() -> None:
    """Devices of sessions that were killed before they could clean up."""
    for device in devices.existing():
        match = _OURS.fullmatch(device.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            labs.Lab(device.name).down()


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """Archives of scripts/images by name: `images["nginx-1.25"]`."""
    listed = labs.call([str(labs.CHECKOUT / "scripts/images")], seconds=170).stdout
    return {Path(line).stem: Path(line) for line in listed.splitlines()}


@pytest.fixture(scope="session")
def lab(no_stale_labs: None, images: dict[str, Path]) -> Iterator[labs.Lab]:
    """The session's shared device."""
    shared = _fresh()
    try:
        shared.up()
        shared.load(*images.values())
        yield shared
    finally:
        shared.down()


@pytest.fixture
def new_lab(no_stale_labs: None) -> Iterator[Callable[..., labs.Lab]]:
    """`new_lab("--config", path)`: a device of the test's own, taken down after it."""
    made: list[labs.Lab] = []

    def make(*arguments: str, load: tuple[Path, ...] = ()) -> labs.Lab:
        own = _fresh()
        made.append(own)
        own.up(*arguments)
        if load:
            own.load(*load)
        return own

    yield make
    for own in made:
        own.down()


@pytest.fixture
def namespace(lab: labs.Lab) -> Iterator[str]:
    """A namespace on the shared device, gone with all that is in it after the test."""
    name = f"test-{next(_counter)}"
    lab.kubectl("create", "namespace", name)
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=true", "--timeout=60s", seconds=70)
