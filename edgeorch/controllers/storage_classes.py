"""The class `local-path`: there from the start, and its editor's from then on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar

from edgeorch.core import local_path
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)


class StorageClasses:
    name: ClassVar[str] = "storage classes"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def run(self) -> None:
        resource = kinds.STORAGE_CLASS.resource
        if self._objects.find(resource, "", local_path.CLASS) is None:
            try:
                await self._objects.create(resource, local_path.storage_class())
            except errors.StatusError as error:
                if error.code != 409:
                    raise
        await asyncio.Event().wait()
