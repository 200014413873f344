"""hostPath: what has to be there, by type."""

from __future__ import annotations

import pathlib
import stat

from edgeorch.agent.volumes.errors import VolumeError

_WANTED = {
    "File": (stat.S_ISREG, "is not a file"),
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "Socket": (stat.S_ISSOCK, "is not a socket file"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


def prepare(path: pathlib.Path, kind: str) -> None:
    """Make or check what is at `path`. Raises VolumeError, OSError."""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if not kind:
        if not path.exists():
            # As container runtimes do for a bind mount of what is not there.
            path.mkdir(mode=0o755, parents=True)
        return
    check, told = _WANTED[kind]
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if not check(mode):
        raise VolumeError(f"hostPath type check failed: {path} {told}")
