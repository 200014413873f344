"""How a volume is mounted into a container: read-only or not, and who sees mounts below it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from edgeorch.agent import linux
from edgeorch.agent.volumes import sources
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import oci_spec
from edgeorch.model import views

_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
_RECURSIVE_SINCE = (5, 12)
"""Linux with mount_setattr(2)."""


def mount(
    wanted: views.VolumeMount, volume: Mapping[str, Any], source: pathlib.Path
) -> oci_spec.Mount:
    """`source`: what is shown of the volume. Raises VolumeError. Blocks."""
    target = wanted.mount_path
    if not target.startswith("/"):
        target = f"/{target}"
    propagation = _PROPAGATION.get(wanted.mount_propagation, "rprivate")
    kind = sources.kind_of(volume)
    if propagation != "rprivate":
        _prepare(source, propagation, own=kind == "emptyDir")
    claim = volume.get("persistentVolumeClaim") or {}
    made = kind in sources.MADE or kind == "image"
    return oci_spec.Mount(
        str(source),
        target,
        wanted.read_only or made or bool(claim.get("readOnly")),
        propagation,
        _is_recursive(wanted),
        no_exec=kind == "image",
    )


def _is_recursive(wanted: views.VolumeMount) -> bool:
    if wanted.recursive_read_only not in ("Enabled", "IfPossible"):
        return False
    release = os.uname().release.split(".")
    if (int(release[0]), int(release[1])) >= _RECURSIVE_SINCE:
        return True
    if wanted.recursive_read_only == "Enabled":
        raise VolumeError("recursiveReadOnly needs Linux 5.12 or later: use IfPossible")
    return False


def _prepare(source: pathlib.Path, propagation: str, *, own: bool) -> None:
    """Mounts pass on only where the mount that holds the volume is shared."""
    place, shared, follows = linux.propagation(source)
    if shared or (follows and propagation == "rslave"):
        return
    if own:
        # Ours to arrange, also on a host whose mounts are private.
        linux.bind(str(source), source)
        linux.share(source)
        return
    what = "a shared mount" if propagation == "rshared" else "a shared or slave mount"
    raise VolumeError(f'path "{source}" is mounted on "{place}" but it is not {what}')
