"""The highest sequence taken of each bundle: a ConfigMap, which outlives the bundle.

Whoever may write ConfigMaps of kube-system may let a device take older versions again.
"""

from __future__ import annotations

from edgeorch.model import bundles, errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.store.objects import Objects

_KEY = bundles.SEQUENCES


class Sequences:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def highest(self, name: str) -> str | None:
        """As it stands there, None where there was none."""
        stored = self._objects.find(*_KEY)
        found: str | None = ((stored.decode().get("data") or {}) if stored else {}).get(name)
        return found

    async def take(self, name: str, sequence: int) -> None:
        """On the medium. Raises StatusError."""
        if self.highest(name) == str(sequence):
            return

        def change(current: Object) -> Object:
            data = {**(current.get("data") or {}), name: str(sequence)}
            return {**current, "data": data}

        resource, namespace, own = _KEY
        bare = {
            "apiVersion": kinds.CONFIG_MAP.api_version,
            "kind": kinds.CONFIG_MAP.kind,
            "metadata": {"name": own, "namespace": namespace},
        }
        try:
            await self._objects.update(*_KEY, change)
        except errors.StatusError as error:
            if error.code != 404:
                raise
            await self._objects.create(resource, change(bare))
