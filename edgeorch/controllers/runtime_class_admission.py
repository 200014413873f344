"""RuntimeClass admission: a new Pod's class is there, and what it says goes into the Pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.core import runtime_classes
from edgeorch.model import kinds
from edgeorch.model import runtime_classes as views

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store import objects as stores


class RuntimeClassAdmission:
    def __init__(self, objects: stores.Objects) -> None:
        self._objects = objects

    async def admit(self, new: Object) -> None:
        name = runtime_classes.name_of(new)
        found = self._objects.find(kinds.RUNTIME_CLASS.resource, "", name) if name else None
        runtime_classes.complete(new, found.view(views.RuntimeClass) if found else None)
