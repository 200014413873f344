"""A version on trial: after an upgrade, until it has shown that it works.

`scripts/launch` counts the starts of a new version and goes back to the former one when it has
started three times without having been ready for a while; the files are described there. Here is
the part of the version itself: it ends its trial, or itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from edgeorch.lib import conditions, files

log = logging.getLogger(__name__)

CONDITION = "UpgradeFailed"
TRIAL, INSTALLATION = "EDGEORCH_TRIAL", "EDGEORCH_INSTALLATION"
"""Set by scripts/launch: the file of the trial of this version, and the directory of all."""
FAILED = "failed"
STARTS = 3
PERIOD = 0.5
"""Seconds between looks, during the trial only."""
_SETTLE, _DEADLINE = 30.0, 300.0


class Record(Struct, frozen=True):
    """What the file of a trial says."""

    version: str
    previous: str
    settle: float = _SETTLE
    """Seconds on end for which it must be ready."""
    deadline: float = _DEADLINE
    """Seconds after its start by which it must have been."""
    starts: int = 0
    why: str = ""
    """What it was not ready for, the last time."""


def parse(text: str) -> Record | None:
    """None for what is none, such as a file that was cut off."""
    first, _, rest = text.partition("\n")
    try:
        version, previous, *seconds = first.split()
        settle, deadline = map(float, seconds or (_SETTLE, _DEADLINE))
    except ValueError:
        return None
    lines = rest.splitlines()
    why = [line.removeprefix("why ") for line in lines if line.startswith("why ")]
    last = why[-1] if why else ""
    return Record(version, previous, settle, deadline, lines.count("start"), last)


def read(path: Path) -> Record | None:
    try:
        return parse(path.read_text(errors="replace"))
    except OSError:
        return None


def undone(installation: Path) -> str:
    """What is to be said of an upgrade that was given up, "" when there was none."""
    failed = read(installation / FAILED)
    if failed is None:
        return ""
    why = f" ({failed.why})" if failed.why else ""
    return (
        f"{failed.version} did not become ready in {failed.starts} starts{why}, and "
        f"{failed.previous} is in use again: look at journalctl -u edgeorch, install a version "
        "that is mended, or the same once more with scripts/install --force"
    )


def tell(board: conditions.Board, environment: Mapping[str, str] = os.environ) -> None:
    """Hold the condition; of a process that was not started by scripts/launch there is none."""
    if not (installation := environment.get(INSTALLATION)):
        return
    if told := undone(Path(installation)):
        board.hold(CONDITION, True, "WentBack", told)
    elif (record := read(Path(environment.get(TRIAL, "")))) is not None:
        told = f"{record.version} is on trial: start {record.starts} of {STARTS} at most"
        board.hold(CONDITION, False, "OnTrial", told)
    else:
        board.hold(CONDITION, False, "NoneFailed", "the version that was installed last is in use")


class Trial:
    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self._record = record
        self._ready_since: float | None = None
        self._began: float | None = None
        self.failure = ""
        """Why this start was in vain, once that is so."""

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> Trial | None:
        """Of this version; None when it is on none."""
        path = Path(environment.get(TRIAL, ""))
        record = read(path) if environment.get(TRIAL) else None
        return cls(path, record) if record is not None else None

    def judge(self, missing: str, now: float) -> bool | None:
        """Whether it has passed or failed, None while neither; `missing`: what it is not ready
        for."""
        if self._began is None:
            self._began = now
        if missing:
            self._ready_since = None
        elif self._ready_since is None:
            self._ready_since = now
        if self._ready_since is not None and now - self._ready_since >= self._record.settle:
            return True
        return False if now - self._began >= self._record.deadline else None

    async def run(self, missing: Callable[[], str], now: Callable[[], float]) -> bool:
        """Whether it has passed. Returns as soon as that is known, and it is noted."""
        while True:
            told = missing()
            verdict = self.judge(told, now())
            if verdict is not None:
                break
            await asyncio.sleep(PERIOD)
        if verdict:
            await asyncio.to_thread(self._pass)
        else:
            self.failure = told or "it does not stay ready"
            await asyncio.to_thread(self._note, self.failure)
        return verdict

    def _pass(self) -> None:
        log.info("%s has passed its trial", self._record.version)
        try:
            (self._path.parent / FAILED).unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
            files.sync_directory(self._path.parent)
        except OSError as error:
            log.warning("Cannot end the trial of %s: %s", self._record.version, error)

    def _note(self, why: str) -> None:
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(f"why {' '.join(why.split())}\n")
            file.flush()
            os.fsync(file.fileno())
