"""Kubernetes' default ClusterRoles and who has them: there from the start, completed later on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar

from edgeorch.core import roles
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)


class ClusterRoles:
    name: ClassVar[str] = "cluster roles"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def run(self) -> None:
        wanted = [
            *((kinds.CLUSTER_ROLE.resource, role) for role in roles.stored_roles()),
            *((kinds.CLUSTER_ROLE_BINDING.resource, each) for each in roles.stored_bindings()),
        ]
        # Together, so that the medium is waited for once.
        await asyncio.gather(*(self._have(resource, obj) for resource, obj in wanted))
        await asyncio.Event().wait()

    async def _have(self, resource: str, obj: Object) -> None:
        """What cannot be made now is made at the next start; it is in force without that."""
        name = obj["metadata"]["name"]
        try:
            if self._objects.find(resource, "", name) is None:
                await self._objects.create(resource, obj)
            elif resource == kinds.CLUSTER_ROLE.resource:
                await self._objects.update(
                    resource, "", name, lambda role: roles.completed(role) or role
                )
        except errors.StatusError as error:
            if error.code != 409:
                log.warning("%s %s cannot be written: %s", resource, name, error.message)
