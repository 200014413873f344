"""The two classes of the system: there from the start, with the values that everybody knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from edgeorch.model import errors, kinds, priority_classes

if TYPE_CHECKING:
    from edgeorch.store.objects import Objects


class PriorityClasses:
    name: ClassVar[str] = "priority classes"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def run(self) -> None:
        resource = kinds.PRIORITY_CLASS.resource
        for name in priority_classes.SYSTEM:
            if self._objects.find(resource, "", name) is None:
                try:
                    await self._objects.create(resource, priority_classes.system_class(name))
                except errors.StatusError as error:
                    if error.code != 409:
                        raise
        await asyncio.Event().wait()
