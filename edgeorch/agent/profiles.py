"""Which system calls a container may make: its seccomp profile, as a part of its OCI spec.

RuntimeDefault is what a container gets when nobody says otherwise (the kubelet's SeccompDefault);
a privileged one is not filtered at all, as in containerd's CRI plugin. Localhost profiles are JSON
files of the administrator, in the form of the OCI runtime spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.lib import json
from edgeorch.model import views

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection

    from edgeorch.model.kinds import Object

_MAX_BYTES = 1 << 20
_DEFAULT = views.Profile(type="RuntimeDefault")


class ProfileError(Exception):
    """The profile cannot be applied; the text says which and why."""


class Seccomp:
    """`folder` holds the Localhost profiles; `available`: the kernel can filter."""

    def __init__(self, folder: pathlib.Path, architecture: str, *, available: bool) -> None:
        self._folder = folder
        self._architecture = architecture
        self._available = available

    def filter(
        self, pod: views.Pod, container: views.Container, capabilities: Collection[str]
    ) -> Object | None:
        """`linux.seccomp`; None for no filter. Raises ProfileError. Blocks."""
        wished = wish(pod, container)
        if wished.type == "Localhost":
            if not self._available:
                raise ProfileError("seccomp is not supported by the kernel of this node")
            return _load(self._folder / wished.localhost_profile)
        if wished.type == "Unconfined" or not self._available:
            return None
        from edgeorch.core import seccomp  # Its table of names is of no use before.

        return seccomp.default_profile(capabilities, self._architecture)


def wish(pod: views.Pod, container: views.Container) -> views.Profile:
    """The container's word comes before the pod's."""
    own = container.security_context or views.ContainerSecurity()
    of_pod = pod.spec.security_context or views.PodSecurity()
    if own.privileged:
        return views.Profile(type="Unconfined")
    return own.seccomp_profile or of_pod.seccomp_profile or _DEFAULT


def _load(path: pathlib.Path) -> Object:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        why = f"open {path}: {(error.strerror or str(error)).lower()}"
        raise ProfileError(f'cannot load seccomp profile "{path}": {why}') from error
    if len(text) > _MAX_BYTES:
        raise ProfileError(f'cannot load seccomp profile "{path}": larger than {_MAX_BYTES} bytes')
    try:
        found = json.decode(text)
    except json.DecodeError as error:
        raise ProfileError(f'decoding seccomp profile failed "{path}": {error}') from error
    if not isinstance(found, dict) or "defaultAction" not in found:
        raise ProfileError(
            f'decoding seccomp profile failed "{path}": it must be an object with a defaultAction'
        )
    return found
