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

_ROUNDS = 5
"""How often at most it is looked whether more was written meanwhile than has gone."""
_NAME = re.compile(r"(\d+)\.log(?:\.(.+))?")


class Space:
    """`grew` is for the thread that writes, `reclaim` for the one that tidies up."""

    def __init__(self, folder: Path, limit: int, on_removed: Callable[[str], None]) -> None:
        """`on_removed` is told in words what went, in the tidying thread."""
        self._folder = folder
        self._limit = limit
        self._on_removed = on_removed
        self._known = (limit, 0)
        """Bytes there were, and what was written by then: the first line has it looked at."""
        self._asked = False
        self.grown = 0
        """Bytes written since the start; only `grew` changes it."""

    @property
    def _size(self) -> int:
        size, by_then = self._known
        return size + self.grown - by_then

    def grew(self, size: int) -> bool:
        """Whether `reclaim` is due now."""
        self.grown += size
        if self._asked or self._size <= self._limit:
            return False
        self._asked = True
        return True

    def reclaim(self, written: Collection[Path]) -> list[Path]:
        """Remove what is over the limit. Logs of `written` that are to be rotated early for it:
        what they hold goes the next time."""
        rotate: list[Path] = []
        for _ in range(_ROUNDS):
            self._asked = False  # from here on, what is written counts anew
            if self._size <= self._limit:
                break
            rotate, freed = self._reclaim(written)
            if not freed:
                break
        return rotate

    def _reclaim(self, written: Collection[Path]) -> tuple[list[Path], int]:
        by_then = self.grown
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
        self._known = (sum(file.size for file in files) - freed, by_then)
        if freed:
            self._tell(decided, freed)
        return rotate, freed

    def remove_old(self) -> int:
        """All that are written no more; how many bytes that were."""
        freed = 0
        for file in log_space.written_no_more(self._files()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.path)
                freed += file.size
        size, by_then = self._known
        self._known = (max(0, size - freed), by_then)
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
