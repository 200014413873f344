"""CustomResourceDefinitions can be asked for, and there are none: nobody follows them here yet.

Clients list them to learn what a cluster knows; a chart that brings one is told why it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object

_WHY = (
    "edgeorch serves no custom resources; leave the definition out (helm: --skip-crds) together "
    "with what needs it"
)


class DefinitionAdmission:
    async def admit(self, new: Object) -> None:
        """Raises StatusError (403)."""
        resource = kinds.CUSTOM_RESOURCE_DEFINITION.resource
        raise errors.forbidden(resource, new["metadata"].get("name", ""), _WHY)
