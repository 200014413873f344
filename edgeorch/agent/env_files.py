"""Reads a file below a folder whose contents a container has written: no link leads out of it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat

LIMIT = 64 * 1024


def read(root: pathlib.Path, path: str) -> str | None:
    """None when there is no such file. Raises OSError. Blocks."""
    with contextlib.ExitStack() as stack:
        folder = _opened(stack, str(root), None, os.O_DIRECTORY)
        *folders, name = pathlib.PurePosixPath(path).parts
        try:
            for part in folders:
                folder = _opened(stack, part, folder, os.O_DIRECTORY)
            fd = _opened(stack, name, folder, os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a file")
        text = os.read(fd, LIMIT + 1)
        if len(text) > LIMIT:
            raise OSError(f"{path} is larger than {LIMIT} bytes")
        return text.decode("utf-8", "replace")


def _opened(stack: contextlib.ExitStack, name: str, folder: int | None, flags: int) -> int:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    stack.callback(os.close, fd)
    return fd
