"""Which part of a volume a container sees: subPath, and subPathExpr with its variables filled in.

As the kubelet's ExpandContainerVolumeMounts: a variable that is not there is an error here, while
in a command line it would stay as written.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from edgeorch.core import env
from edgeorch.model import views


class _Noting(dict[str, str]):
    """The scope, with a note of what has been looked up in vain."""

    def __init__(self, scope: Mapping[str, str]) -> None:
        super().__init__(scope)
        self.missing: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        if name not in self:
            self.missing.append(name)
        return super().get(name, default)


def resolve(container: views.Container, scope: Mapping[str, str]) -> dict[int, str]:
    """The part of the volume by the mount's number; mounts of whole volumes are left out.

    Raises env.ConfigError.
    """
    return dict(_resolved(container, scope))


def _resolved(container: views.Container, scope: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    for number, mount in enumerate(container.volume_mounts):
        path = mount.sub_path
        if mount.sub_path_expr:
            noting = _Noting(scope)
            path = env.expand(mount.sub_path_expr, noting)
            if noting.missing:
                told = ", ".join(f'missing value for "{name}"' for name in noting.missing)
                raise env.ConfigError(told)
        if not path:
            continue
        if path.startswith("/"):
            raise env.ConfigError(f"error SubPath `{path}` must not be an absolute path")
        if ".." in path.split("/"):
            raise env.ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
        yield number, posixpath.normpath(path)
