"""After a cut of power: were the layers that had just been unpacked whole?

Those of the last minutes before it, as far as the times of the layers themselves tell, are compared
with what they were unpacked from, before any pod starts. What differs is unpacked again; what
cannot be is given up, to be fetched or imported anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable
from pathlib import Path

from edgeorch.lib import clock as clocks
from edgeorch.lib import files
from edgeorch.runtime import errors, layers

log = logging.getLogger(__name__)

WINDOW = datetime.timedelta(minutes=10)
"""What was unpacked so long before the latest layer is on the medium."""


class LayerCheck:
    def __init__(
        self, found: layers.Layers, memory: Path, tell: Callable[[str, str, str], None]
    ) -> None:
        """`memory` keeps up to when layers are known to be whole."""
        self._layers = found
        self._memory = memory
        self._tell = tell

    async def after_cut(self) -> None:
        """Raises ContainerdError."""
        known = await asyncio.to_thread(self._remembered)
        recent = await self._layers.since(known)
        if not recent:
            return
        latest = max(layer.created for _, layer in recent.values())
        for name, layer in recent.values():
            if layer.created >= latest - WINDOW:
                await self._mend(name, layer)
        await asyncio.to_thread(self._remember, latest)

    async def _mend(self, name: str, layer: layers.Layer) -> None:
        torn = await self._layers.check(name, layer)
        if torn is None:
            return
        if not torn.is_lost:
            with contextlib.suppress(errors.ContainerdError):
                await self._layers.unpack_again(torn)
            if await self._layers.check(name, layer) is None:
                told = f"A layer of {name} was torn by the cut, and was unpacked again: {torn.why}"
                log.warning("%s", told)
                self._tell("Warning", "ImageRepaired", told)
                return
        await self._layers.forget(torn)
        told = f"{name} was damaged by the cut and is to be fetched again: {torn.why}"
        log.warning("%s", told)
        self._tell("Warning", "ImageDamaged", told)

    def _remembered(self) -> datetime.datetime | None:
        try:
            return clocks.parse_rfc3339(self._memory.read_text().strip())
        except (OSError, ValueError):
            return None

    def _remember(self, latest: datetime.datetime) -> None:
        with contextlib.suppress(OSError):
            text = clocks.rfc3339_micro(latest)
            files.write_atomically(self._memory, f"{text}\n".encode(), mode=0o600)
