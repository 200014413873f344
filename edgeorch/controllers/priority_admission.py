"""Priority admission: a new Pod's priority is that of its class, and one class is the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.core import priorities
from edgeorch.model import kinds
from edgeorch.model.priority_classes import PriorityClass

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

_CLASSES = kinds.PRIORITY_CLASS.resource


class PriorityAdmission:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def admit(self, new: Object) -> None:
        name = priorities.name_of(new)
        if not name:
            priorities.complete(new, priorities.default_of(_classes(self._objects)))
            return
        found = self._objects.find(_CLASSES, "", name)
        priorities.complete(new, found.view(PriorityClass) if found else None)


class DefaultClass:
    """An allocator of classes: it hands nothing out, but there is one default at a time."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def admit(self, new: Object, old: Object | None) -> None:
        priorities.check_default(new, _classes(self._objects))

    def settle(self, new: Object | None, old: Object | None) -> None:
        """Nothing was handed out."""


def _classes(objects: Objects) -> list[PriorityClass]:
    return [stored.view(PriorityClass) for stored in objects.list(_CLASSES).items]
