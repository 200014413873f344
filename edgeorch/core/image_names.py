"""Which images the stored objects name: pods, templates of every kind, what can be rolled back to.

Found by shape, not by kind: wherever a pod's spec stands in an object (a template, a job's template
in a CronJob, the data of a ControllerRevision), its containers are lists of those names.
"""

from __future__ import annotations

import contextlib
from typing import Any

from edgeorch.wire import image_ref

_LISTS = ("containers", "initContainers", "ephemeralContainers")


def named(value: Any) -> set[str]:
    """Normalised names; what is no image name names nothing."""
    found: set[str] = set()
    _collect(value, found)
    return found


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, list):
        for entry in value:
            _collect(entry, found)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in _LISTS and isinstance(inner, list):
            for container in inner:
                _add(container.get("image") if isinstance(container, dict) else None, found)
        elif key == "volumes" and isinstance(inner, list):
            for volume in inner:
                source = volume.get("image") if isinstance(volume, dict) else None
                _add(source.get("reference") if isinstance(source, dict) else None, found)
        else:
            _collect(inner, found)


def _add(image: Any, found: set[str]) -> None:
    if isinstance(image, str) and image:
        with contextlib.suppress(image_ref.InvalidReference):
            found.add(str(image_ref.normalise(image)))
