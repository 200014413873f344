"""The limit on what the logs of all containers take together on the device's disk.

What is written is counted as it is written; only when the sum passes the limit is the folder looked
through. An idle device is never looked at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from edgeorch.core import log_space

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d+)\.log(?:\.(.+))?")


class Space:
    """`grew` is for the thread that writes, `reclaim` for the one that tidies up."""

    def __init__(self, folder: Path, limit: int, on_removed: Callable[[str], None]) -> None:
        """`on_removed` is told in words what went, in the tidying thread."""
        self._folder = folder
        self._limit = limit
        self._on_removed = on_removed
        self._size = limit  # not known yet: the first line has it looked at
        self._asked = False

    def grew(self, size: int) -> bool:
        """Whether `reclaim` is due now."""
        self._size += size
        if self._asked or self._size <= self._limit:
            return False
        self._asked = True
        return True

    def reclaim(self, written: Collection[Path]) -> list[Path]:
        """Remove what is over the limit. Logs of `written` that are to be rotated early for it."""
        if not self._asked:
            return []
        files = list(self._files())
        decided = log_space.decide(files, self._limit)
        freed = 0
        for file in decided.remove:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)
                freed += file.size
        rotate = []
        for file in decided.empty:
            if Path(file.path) in written:
                rotate.append(Path(file.path))
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.truncate(file.path, 0)
                    freed += file.size
        self._size = sum(file.size for file in files) - freed
        self._asked = False
        if freed:
            self._tell(decided, freed)
        return rotate

    def remove_old(self) -> int:
        """All that are written no more; how many bytes that were."""
        freed = 0
        for file in log_space.written_no_more(self._files()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)
                freed += file.size
        self._size = max(0, self._size - freed)
        return freed

    def _tell(self, decided: log_space.Decision, freed: int) -> None:
        given = [*decided.remove, *decided.empty]
        whose = dict.fromkeys("/".join(Path(file.container).parts[-2:]) for file in given)
        told = (
            f"Removed {freed / 1e6:.1f} MB of old container logs: together they are limited to "
            f"{self._limit / 1e6:.1f} MB (pods.log_total_max_bytes). Most was written by "
            + ", ".join(list(whose)[:3])
        )
        log.warning("%s", told)
        self._on_removed(told)

    def _files(self) -> Iterator[log_space.File]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                match = _NAME.fullmatch(name)
                if match is None:
                    continue
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    size = os.lstat(path).st_size
                    yield log_space.File(path, folder, int(match[1]), match[2] or "", size)
