"""Image archives of the preload folder: imported at start, and when they appear.

The folder is for devices that no registry can reach: whoever puts an archive there gets its images,
whatever else happens, and the garbage collector leaves them alone. A file counts once nobody writes
it any more. What an archive has given is remembered with its time, size and inode, so that a start
reads none of them again; pods wait for the rest, before anything is pulled (`ImageKeeper`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import stat
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgeorch.core import preloading
from edgeorch.core.preloading import Record, Stamp
from edgeorch.lib import backoff, files, inotify, json
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeorch.agent import ports

log = logging.getLogger(__name__)

MEMORY = "preload.json"
"""The file's name in the data directory."""
LOOK_AGAIN = 300.0
"""Seconds between looks without a word from the kernel: a medium may be mounted over the folder."""
_SETTLE = 0.2
_RETRY = backoff.Policy(initial=1.0, factor=2.0, cap=60.0)
_MASK = (
    inotify.CLOSE_WRITE
    | inotify.MOVED_FROM
    | inotify.MOVED_TO
    | inotify.CREATE
    | inotify.DELETE
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
)


class Archives(Protocol):
    async def import_archive(self, path: pathlib.Path) -> list[str]:
        """Raises BadArchive, ContainerdError."""


class Preloader:
    def __init__(
        self,
        folder: pathlib.Path,
        memory: pathlib.Path,
        archives: Archives,
        images: ports.Images,
        settled: asyncio.Event,
        tell: Callable[[str, str, str], None],
    ) -> None:
        """`memory` is a file of ours; `settled` is set while nothing is being imported; `tell`
        makes an event of the node (type, reason, message)."""
        self._folder = folder
        self._memory = memory
        self._archives = archives
        self._images = images
        self._settled = settled
        self._tell = tell
        self._known: dict[str, Record] = {}
        self._settled.clear()

    def given(self) -> set[str]:
        """Images that the folder gives."""
        return preloading.given(self._known.values())

    async def run(self) -> None:
        self._known = await asyncio.to_thread(remembered, self._memory)
        while True:
            with contextlib.ExitStack() as stack:
                watch = await self._watch()
                if watch is not None:
                    stack.callback(watch.close)
                await self._look()
                self._settled.set()
                await _next(watch)

    async def _watch(self) -> inotify.Directory | None:
        """Before looking, so that nothing is missed between."""
        try:
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
            return inotify.Directory(self._folder, _MASK)
        except OSError as error:
            log.warning("Cannot watch %s for image archives: %s", self._folder, error)
            return None

    async def _look(self) -> None:
        failures = 0
        while True:
            try:
                found = await asyncio.to_thread(_scan, self._folder)
                present = {image.name for image in await self._images.list()}
                wanted = preloading.due(found, self._known, present)
                self._forget(found)
                if wanted:
                    self._settled.clear()
                for name in wanted:
                    await self._import(name, found[name])
                return
            except errors.Unavailable as error:
                log.info("Cannot import image archives yet: %s", error)
                await asyncio.sleep(_RETRY.delay(failures))
                failures += 1

    async def _import(self, name: str, stamp: Stamp) -> None:
        """Raises Unavailable."""
        path = self._folder / name
        try:
            images = await self._archives.import_archive(path)
        except errors.Unavailable:
            raise
        except (errors.BadArchive, errors.ContainerdError, OSError) as error:
            told = str(error) if str(path) in str(error) else f"cannot import {path}: {error}"
            self._failed(name, stamp, told)
            return
        except Exception as error:  # pods wait for the folder: one file must not stop them all
            log.exception("Cannot import %s", path)
            self._failed(name, stamp, f"cannot import {path}: {error!r}")
            return
        # Named again by the same images, it has lost nothing; so the record comes last.
        self._known[name] = Record(stamp, tuple(sorted(set(images))))
        await asyncio.to_thread(self._remember)
        log.info("Imported %s from %s", ", ".join(images), path)
        self._tell("Normal", "ImageArchiveImported", f"Imported {', '.join(images)} from {path}")

    def _failed(self, name: str, stamp: Stamp, told: str) -> None:
        before = self._known.get(name)
        # What it gave before stays the folder's.
        self._known[name] = Record(stamp, before.images if before else (), told)
        if before is None or before.error != told or before.stamp != stamp:
            log.warning("%s", told)
            self._tell("Warning", "ImageArchiveFailed", f"{told[:1].upper()}{told[1:]}")

    def _forget(self, found: dict[str, Stamp]) -> None:
        for name in [name for name in self._known if name not in found]:
            if not (self._folder / name).exists():  # one that is being written anew is still there
                del self._known[name]

    # --- what outlives the process --------------------------------------------------------------

    def _remember(self) -> None:
        good = {name: record for name, record in self._known.items() if not record.error}
        try:
            files.write_atomically(self._memory, json.encode(good), mode=0o600)
        except OSError as error:
            log.warning("Cannot write %s: %s", self._memory, error)


def remembered(memory: pathlib.Path) -> dict[str, Record]:
    """What a preloader has written down there; nothing when it cannot be read."""
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, Record])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("Importing all image archives anew: cannot read %s: %s", memory, error)
        return {}


async def _next(watch: inotify.Directory | None) -> None:
    """Until there is a reason to look again; copying a file is one reason, not a hundred."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            await (watch.changed if watch is not None else asyncio.Event()).wait()
    if watch is not None and watch.changed.is_set():
        await asyncio.sleep(_SETTLE)


def _scan(folder: pathlib.Path) -> dict[str, Stamp]:
    """The archives that are whole, as far as one can see."""
    found = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    for name in filter(preloading.is_archive, names):
        path = folder / name
        with contextlib.suppress(OSError):
            seen = path.stat()
            if stat.S_ISREG(seen.st_mode) and not inotify.is_being_written(path):
                found[name] = Stamp(seen.st_mtime_ns, seen.st_size, seen.st_ino)
    return found
