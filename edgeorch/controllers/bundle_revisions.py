"""The versions of bundles that are kept: one BundleRevision each, with the manifests as sent.

They are as large as what was pushed: whoever only wants to know what is there does not unpack them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edgeorch.controllers import frame
from edgeorch.core import image_names
from edgeorch.model import bundles, kinds, schema
from edgeorch.store.objects import Objects
from edgeorch.store.stored import Stored

_REVISIONS = kinds.BUNDLE_REVISION.resource


class Revisions:
    def __init__(self, objects: Objects, table: schema.Schema) -> None:
        self._objects = objects
        self._table = table

    def has(self, name: str, version: str) -> bool:
        found = self._objects.find(_REVISIONS, "", bundles.revision_name(name, version))
        return found is not None

    async def keep(self, bundle: Stored, version: str, asked: bundles.Push) -> None:
        """On the medium, when it is not yet. Raises StatusError."""
        if self.has(bundle.name, version):
            return
        images = set().union(*(image_names.named(item.obj) for item in asked.items))
        made = bundles.revision(bundle.decode(), version, asked.manifests, sorted(images))
        await self._objects.create(_REVISIONS, made)

    def manifests(self, name: str, version: str) -> bytes | None:
        """Of a version that is kept."""
        found = self._objects.find(_REVISIONS, "", bundles.revision_name(name, version))
        return bundles.unpacked(found.decode()) if found is not None else None

    def read(self, name: str, version: str) -> tuple[Sequence[bundles.Item], Sequence[str]]:
        """The objects of a version that is kept, and what this edgeorch finds wrong with them."""
        manifests = self.manifests(name, version) if version else None
        if not manifests:
            return [], []
        items, causes = bundles.parse(manifests, self._table, self._objects.registry)
        return items, [str(cause) for cause in causes]

    def images(self, name: str) -> list[str]:
        """What the versions that are kept need on the device."""
        found = {
            container.image
            for each in self._objects.list(_REVISIONS).items
            if bundles.is_revision_of(name, each.name)
            for container in each.view(bundles.Revision).containers
        }
        return sorted(found)

    async def drop(self, name: str, *, but: Collection[str] = ()) -> None:
        """All but those of some versions."""
        needed = {bundles.revision_name(name, version) for version in but}
        for each in self._objects.list(_REVISIONS).items:
            if bundles.is_revision_of(name, each.name) and each.name not in needed:
                await frame.ignoring_absence(self._objects.delete(_REVISIONS, "", each.name))
