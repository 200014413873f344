"""Service + Pods → EndpointSlices. The decision is core.endpoints; slices end with their owner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, services, world
from edgeorch.core import claims, endpoints
from edgeorch.model import errors, kinds, views
from edgeorch.model.kinds import Object

_RESOURCE = kinds.ENDPOINT_SLICE.resource


class EndpointSlices(frame.Controller[index.Key]):
    name: ClassVar[str] = "endpoint-slice-controller"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self.wake_on(shared.services, frame.itself)
        self.wake_on(shared.pods, lambda change: services.of_pod(shared, change))
        self.wake_on(shared.slices, self._of_slice)

    async def settled(self) -> None:
        """Until the slices say what pods and Services have said so far."""
        self._world.pods.catch_up()
        self._world.services.catch_up()
        await self._queue.idle()

    def _of_slice(self, change: index.Change[tuple[str, str, str]]) -> Iterable[index.Key]:
        for namespace, service, managed_by in filter(None, (change.old, change.new)):
            if managed_by == endpoints.CONTROLLER and service:
                yield namespace, service

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(kinds.SERVICE.resource, *key)
        if stored is None:
            return None
        service = stored.view(views.Service)
        if service.metadata.deletion_timestamp or not endpoints.is_managed(service):
            return None
        pods = services.pods_behind(self._world, key[0], service.spec.selector)
        existing = existing_slices(self._world, key, endpoints.CONTROLLER)
        reference = claims.reference(stored.decode())
        plan = endpoints.plan_slices(service, reference, pods, existing)
        await carry_out(self._world, key[0], plan)
        return None


def existing_slices(shared: world.World, key: index.Key, managed_by: str) -> list[Object]:
    names = shared.slices.keys(projections.slice_key(*key, managed_by))
    found = (shared.objects.find(_RESOURCE, *each) for each in names)
    return [stored.decode() for stored in found if stored is not None]


async def carry_out(shared: world.World, namespace: str, plan: endpoints.Plan) -> None:
    for name, new in plan.update.items():
        await shared.objects.update(_RESOURCE, namespace, name, lambda _, new=new: new)  # type: ignore[misc]
    for made in plan.create:
        try:
            await shared.objects.create(_RESOURCE, made)
        except errors.StatusError as error:
            if not frame.is_namespace_ending(error):
                raise
    for name in plan.delete:
        await frame.ignoring_absence(shared.objects.delete(_RESOURCE, namespace, name))
