"""Volumes of kind image (KEP-4639): the files of an image, read-only and not to be executed."""

from __future__ import annotations

import pathlib

from edgeorch.agent import linux


def mount(layers: list[str], target: pathlib.Path) -> None:
    """`layers`: directories, topmost first. Raises OSError. Blocks."""
    # One directory alone is no overlay.
    empty = target.parent / ".empty"
    empty.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    while linux.unmount(target):
        pass
    linux.mount_overlay([*layers, str(empty)], target)
