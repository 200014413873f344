"""Service + Pods → Endpoints, for clients that know no EndpointSlices. See core.endpoints."""

from __future__ import annotations

from typing import ClassVar

from edgeorch.controllers import frame, index, services, world
from edgeorch.core import endpoints
from edgeorch.model import errors, kinds, views
from edgeorch.model.kinds import Object

_RESOURCE = kinds.ENDPOINTS.resource


class Endpoints(frame.Controller[index.Key]):
    name: ClassVar[str] = "endpoint-controller"
    workers: ClassVar[int] = 4

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self.wake_on(shared.services, frame.itself)
        self.wake_on(shared.pods, lambda change: services.of_pod(shared, change))
        # They share a name. What appears without a Service is left to whoever made it.
        self.wake_on(shared.endpoints, lambda change: (change.key,) if change.deleted else ())

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(kinds.SERVICE.resource, *key)
        held = self._objects.find(_RESOURCE, *key)
        if stored is None:
            if held is not None:
                # By hand or not: as on Kubernetes, they go with their Service.
                await frame.ignoring_absence(self._objects.delete(_RESOURCE, *key))
            return None
        service = stored.view(views.Service)
        if service.metadata.deletion_timestamp or not endpoints.is_managed(service):
            return None
        pods = services.pods_behind(self._world, key[0], service.spec.selector)
        wanted = endpoints.endpoints(service, pods)
        if held is not None:
            await self._objects.update(_RESOURCE, *key, lambda old: _merged(old, wanted))
            return None
        try:
            await self._objects.create(_RESOURCE, wanted)
        except errors.StatusError as error:
            if not frame.is_namespace_ending(error):
                raise
        return None


def _merged(old: Object, wanted: Object) -> Object:
    found = {**old, "metadata": {**old["metadata"], "labels": wanted["metadata"]["labels"]}}
    found.pop("subsets", None)
    if "subsets" in wanted:
        found["subsets"] = wanted["subsets"]
    return found
