"""The ControllerRevisions of a workload: adopted, made, numbered, and cut off when too many.

The decisions are core.history.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from msgspec import Struct

from edgeorch.controllers import frame, projections, world
from edgeorch.core import claims, history
from edgeorch.lib import json
from edgeorch.model import errors, kinds, views, workloads
from edgeorch.model.kinds import Object
from edgeorch.store import objects as stores

_REVISIONS = kinds.CONTROLLER_REVISION.resource


class Settled(Struct, frozen=True):
    """All revisions, and which of them is the current template's.

    `collided`: the name for a new one is taken; another hash is needed.
    """

    known: list[workloads.ControllerRevision]
    update: workloads.ControllerRevision | None
    collided: bool = False

    def named(self, name: str) -> workloads.ControllerRevision | None:
        return next((each for each in self.known if each.metadata.name == name), None)


class RevisionHistory:
    def __init__(self, shared: world.World, hash_label: str) -> None:
        """`hash_label`: under which a revision of this kind of workload carries its hash."""
        self._world = shared
        self._objects: stores.Objects = shared.objects
        self._hash_label = hash_label

    async def settle(
        self,
        meta: views.Meta,
        selector: views.LabelSelector,
        obj: Object,
        collision_count: int | None,
    ) -> Settled:
        """See to it that the current template is the latest revision. Raises StatusError."""
        known = await self._claim(meta, selector, obj)
        if meta.deletion_timestamp is not None:
            return Settled(known, max(known, key=lambda each: each.revision, default=None))
        action = history.plan(obj["spec"]["template"], known, collision_count)
        name = await self._carry_out(obj, action)
        known = self._owned(meta.uid)
        update = next((each for each in known if each.metadata.name == name), None)
        return Settled(known, update, collided=update is None)

    async def cut(self, settled: Settled, live: Collection[str], limit: int) -> None:
        namespace = settled.known[0].metadata.namespace if settled.known else ""
        for name in history.excess(settled.known, live, limit):
            await frame.ignoring_absence(self._objects.delete(_REVISIONS, namespace, name))

    def _owned(self, uid: str) -> list[workloads.ControllerRevision]:
        keys = self._world.revisions.keys(projections.owner_key(uid))
        found = (self._objects.find(_REVISIONS, *key) for key in keys)
        return [each.view(workloads.ControllerRevision) for each in found if each is not None]

    async def _claim(
        self, meta: views.Meta, selector: views.LabelSelector, obj: Object
    ) -> list[workloads.ControllerRevision]:
        index = self._world.revisions
        candidates = [
            *index.find(projections.owner_key(meta.uid)),
            *index.find(projections.orphans_of(meta.namespace, selector)),
        ]
        deleting = meta.deletion_timestamp is not None
        found = claims.claim(meta.uid, selector, deleting, candidates)
        reference = claims.reference(obj)
        for each in found.adopt:
            # Labels do not tell whose revision an orphan is, its name does.
            if each.metadata.name.startswith(f"{meta.name}-"):
                await self._change(each, partial(claims.adopted, ref=reference))
        for each in found.release:
            await self._change(each, partial(claims.released, uid=meta.uid))
        return self._owned(meta.uid)

    async def _change(self, found: projections.Owned, change: frame.Change) -> None:
        meta = found.metadata
        work = self._objects.update(_REVISIONS, meta.namespace, meta.name, change)
        await frame.ignoring_absence(work)

    async def _carry_out(
        self,
        obj: Object,
        action: history.Create | history.Renumber | workloads.ControllerRevision,
    ) -> str:
        """The name of the current template's revision."""
        namespace = obj["metadata"]["namespace"]
        match action:
            case history.Create():
                return await self._create(obj, action)
            case history.Renumber():
                change = partial(history.renumbered, revision=action.revision)
                work = self._objects.update(_REVISIONS, namespace, action.name, change)
                await frame.ignoring_absence(work)
                return action.name
            case found:
                return found.metadata.name

    async def _create(self, obj: Object, action: history.Create) -> str:
        # The store takes over what it is given.
        owner: Object = json.decode(json.encode(obj))
        made = history.new_revision(owner, action, claims.reference(obj), self._hash_label)
        name: str = made["metadata"]["name"]
        try:
            await self._objects.create(_REVISIONS, made)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return name
