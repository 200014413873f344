"""containerd that cannot start because of its own broken state is helped up again.

Nothing is touched unless it has been away for a while and one of its databases is damaged for a
fact: read page by page, not guessed from a log. Then the damaged files are set aside, containerd is
started, and the images are made anew from the blobs that are still there; what the preload folder
gives is imported by itself, and pods start as after a loss of their containers. Others who use the
same containerd lose their records too, but with the file as it was nobody could use it at all.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from typing import Protocol

from edgeorch.agent import image_index
from edgeorch.lib import conditions, programs
from edgeorch.runtime import errors, rebuild
from edgeorch.wire import oci

log = logging.getLogger(__name__)

CONDITION = "ContainerdRebuilt"
LOOK_AGAIN = 60.0
"""Seconds between looks at a containerd that stays away."""
_START_LIMIT = 120.0
_TRIES, _AGAIN = 60, 1.0
"""So often, and so many seconds apart, containerd is asked whether it is back."""


class Runtime(Protocol):
    async def health(self) -> str:
        """Raises ContainerdError."""

    async def ensure_namespace(self) -> None: ...


class Archives(Protocol):
    async def import_layout(self, layout: rebuild.Layout) -> list[str]:
        """The names of the images made. Raises ContainerdError, BadArchive."""


class Doctor:
    def __init__(
        self,
        state: rebuild.State,
        restart: Sequence[str],
        patience: float,
        runtime: Runtime,
        archives: Callable[[], Archives],
        index: image_index.ImageIndex,
        board: conditions.Board,
        tell: Callable[[str, str, str], None],
    ) -> None:
        """`restart`: the command that starts containerd. `patience`: seconds it may be away."""
        self._state = state
        self._restart = list(restart)
        self._patience = patience
        self._runtime = runtime
        self._archives = archives
        self._index = index
        self._board = board
        self._tell = tell
        self._away = asyncio.Event()

    def seen(self, trouble: str | None) -> None:
        """How containerd fares."""
        if trouble is None:
            self._away.clear()
        else:
            self._away.set()

    async def run(self) -> None:
        while True:
            await self._finish()
            await self._away.wait()
            await asyncio.sleep(self._patience)
            if not self._away.is_set() or await self._is_up():
                continue
            try:
                damage = await asyncio.to_thread(self._state.problem)
                if damage is not None:
                    await self._help(damage)
            except OSError as error:
                log.warning("Cannot help containerd up: %s", error)
            await asyncio.sleep(LOOK_AGAIN if self._away.is_set() else 0)

    async def _is_up(self) -> bool:
        try:
            await self._runtime.health()
        except errors.ContainerdError:
            return False
        return True

    async def _help(self, damage: str) -> None:
        """Raises OSError."""
        self._index.paused = True
        kept = await asyncio.to_thread(self._state.set_aside)
        told = (
            f"containerd did not start, since {damage}. That was set aside as {kept}, and images "
            "are made anew"
        )
        log.error("%s", told)
        self._board.hold(CONDITION, True, "DatabaseWasDamaged", told)
        self._tell("Warning", CONDITION, told)
        await self._start()
        for _ in range(_TRIES):
            if await self._is_up():
                break
            await asyncio.sleep(_AGAIN)
        await self._finish()

    async def _start(self) -> None:
        if not self._restart:
            return
        done = await programs.run(*self._restart, limit=_START_LIMIT)
        if done.code:
            log.error("%s: %s", " ".join(self._restart), done.complaint)

    async def _finish(self) -> None:
        """Make images of what was salvaged, also by a process before this one."""
        salvage = self._state.salvage
        if not salvage.is_dir():
            return
        self._index.paused = True
        known = await asyncio.to_thread(self._index.read)
        made, lost = 0, list[str]()
        try:
            await self._runtime.ensure_namespace()
            for name, target in known.items():
                if await self._remake(name, target):
                    made += 1
                else:
                    lost.append(name)
        except errors.Unavailable as error:
            log.warning("Images are made anew later: %s", error)
            return
        await asyncio.to_thread(shutil.rmtree, salvage, True)
        self._index.paused = False
        self._index.changed()
        told = f"{made} images were made anew from the blobs that containerd had"
        if lost:
            told += f"; these could not be: {', '.join(lost)}"
        log.warning("%s", told)
        self._tell("Normal", "ImagesRebuilt", told)

    async def _remake(self, name: str, target: oci.Descriptor) -> bool:
        """Raises Unavailable."""
        layout = rebuild.Layout(self._state.salvage, {name: target})
        try:
            return bool(await self._archives().import_layout(layout))
        except errors.Unavailable:
            raise
        except (errors.ContainerdError, errors.BadArchive, OSError) as error:
            log.warning("Cannot make %s anew: %s", name, error)
            return False
