"""Endpoints written by hand → EndpointSlices, for Services without selector (KEP-752)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from edgeorch.controllers import endpoint_slices, frame, index, world
from edgeorch.core import endpoints
from edgeorch.model import kinds, views


class EndpointMirroring(frame.Controller[index.Key]):
    name: ClassVar[str] = "endpoint-slice-mirroring-controller"

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self.wake_on(shared.endpoints, frame.itself)
        self.wake_on(shared.services, frame.itself)
        self.wake_on(shared.slices, self._of_slice)

    def _of_slice(self, change: index.Change[tuple[str, str, str]]) -> Iterable[index.Key]:
        for namespace, service, managed_by in filter(None, (change.old, change.new)):
            if managed_by == endpoints.MIRROR and service:
                yield namespace, service

    async def reconcile(self, key: index.Key) -> float | None:
        objects = self._world.objects
        existing = endpoint_slices.existing_slices(self._world, key, endpoints.MIRROR)
        held = objects.find(kinds.ENDPOINTS.resource, *key)
        if held is None:
            # The slices are dependents of the Endpoints: the garbage collector's work.
            return None
        found = held.decode()
        stored = objects.find(kinds.SERVICE.resource, *key)
        service = stored.view(views.Service) if stored is not None else None
        wanted = endpoints.mirror(found) if endpoints.is_mirrored(found, service) else []
        plan = endpoints.settle(wanted, existing)
        await endpoint_slices.carry_out(self._world, key[0], plan)
        return None
