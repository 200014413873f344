"""Whether updates have to wait: an annotation of the node, and a file that an application holds.

The annotation is for people and fleets, and is kept like every intent. The file is for what runs on
the device: updates wait as long as somebody has it locked (flock(2), fcntl(2)), or as long as there
is a text in it, which is the reason and outlasts reboots. Who holds a lock is read from
/proc/locks: taking the lock to find out would get in the application's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from edgeorch.controllers import index, world
from edgeorch.lib import conditions, inotify
from edgeorch.model import views

log = logging.getLogger(__name__)

ANNOTATION = "edgeorch.io/hold-updates"
CONDITION = "UpdatesHeld"
_LOCKS = Path("/proc/locks")
_LONGEST = 200
LOOK_AGAIN = 5.0
"""Seconds between looks at a lock that is held: letting go of one tells nobody."""


class Holds:
    def __init__(self, shared: world.World, file: Path, board: conditions.Board) -> None:
        self._world = shared
        self._board = board
        self._file = file
        self._news = asyncio.Event()
        self._look: asyncio.TimerHandle | None = None
        shared.nodes.subscribe(self._node_changed)

    def _node_changed(self, change: index.Change[views.Node]) -> None:
        del change
        self._changed()

    def reason(self) -> str:
        """Why updates have to wait, "" when they have not. Who asks is told when it may differ."""
        told = self._annotated()
        if not told and (told := self._in_file()) and self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_AGAIN, self._looked)
        if told or self._board.find(CONDITION) is not None:
            why = "Held" if told else "NotHeld"
            self._board.hold(CONDITION, bool(told), why, told or "updates are not held")
        return told

    def _looked(self) -> None:
        self._look = None
        self._changed()

    def _changed(self) -> None:
        """The node's condition is to be true also when no bundle waits."""
        self.reason()
        self._news.set()

    def _annotated(self) -> str:
        node = self._world.nodes.get(("", self._world.node_name))
        said = node.metadata.annotations.get(ANNOTATION) if node is not None else None
        if said is None or said.strip().lower() == "false":
            return ""
        why = f": {said}" if said.strip().lower() not in ("", "true") else ""
        return f"updates are held by the node's annotation {ANNOTATION}{why}"

    def _in_file(self) -> str:
        try:
            with self._file.open("rb") as file:
                found = os.fstat(file.fileno())
                text = file.read(_LONGEST).decode(errors="replace").strip()
        except OSError:
            return ""
        if text:
            return f"updates are held by {self._file}: {' '.join(text.split())}"
        return f"updates are held: {self._file} is locked" if _is_locked(found) else ""

    async def changed(self) -> None:
        """Until it may have."""
        await self._news.wait()
        self._news.clear()

    async def run(self) -> None:
        """Follow the file, for ever."""
        try:
            await asyncio.to_thread(self._make)
            watched = inotify.Directory(
                self._file.parent,
                inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.DELETE,
            )
        except OSError as error:
            log.warning(
                "Cannot follow %s: %s; only the annotation holds updates", self._file, error
            )
            await asyncio.Event().wait()
            return
        try:
            self._changed()
            while True:
                await watched.changed.wait()
                watched.changed.clear()
                self._changed()
        finally:
            watched.close()

    def _make(self) -> None:
        """So that it can be shown to containers, and locked."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _is_locked(file: os.stat_result) -> bool:
    """proc_locks(5): `1: FLOCK ADVISORY WRITE 1234 fe:00:5678 0 EOF`; `->` before who waits."""
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    return any(place in (words := line.split()) and "->" not in words for line in lines)
