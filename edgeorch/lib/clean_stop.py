"""Whether the last stop was a clean one: a file that is there while this process is up.

It names the boot. What is left of a process of this boot was killed, and its writes are on their
way to the disk; what is left of another boot is a cut of power or a crash of the kernel, and what
was not synced then is lost. Written at start, removed at a clean stop, and never in between.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from edgeorch.lib import conditions, files

log = logging.getLogger(__name__)

CONDITION = "UncleanStop"
_CUT = "cut"
CUT = "the device was cut off (power, or a crash of the system) while it was running"
KILLED = "edgeorch was killed or crashed while it was running; its containers went on"


class CleanStop:
    def __init__(self, path: Path, boot: str) -> None:
        """`boot` is the id of this one."""
        self._path = path
        self._boot = boot
        self.was_cut = False
        self.was_killed = False

    def begin(self) -> None:
        """A medium that takes no writes has been told of by others."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            former = self._path.read_text().split()
            # Whoever was killed before it had looked around leaves that to the next.
            self.was_killed = bool(former)
            self.was_cut = bool(former) and (former[0] != self._boot or _CUT in former)
        text = f"{self._boot} {_CUT}\n" if self.was_cut else f"{self._boot}\n"
        with contextlib.suppress(OSError):
            files.write_atomically(self._path, text.encode(), mode=0o600)

    def tell(self, board: conditions.Board) -> None:
        """Whether it was, as a condition of the node."""
        if self.was_cut:
            board.hold(CONDITION, True, "PowerWasCut", CUT)
        elif self.was_killed:
            board.hold(CONDITION, True, "ProcessWasKilled", KILLED)
        else:
            board.hold(CONDITION, False, "StoppedCleanly", "the last stop was a clean one")

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            files.sync_directory(self._path.parent)
