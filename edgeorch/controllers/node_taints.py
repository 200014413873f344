"""Conditions of the node → taints that keep pods away from it. The decision is core.node_taints.

What follows from conditions is as fleeting as they are: a full disk is no reason to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import node_taints
from edgeorch.model import kinds, views
from edgeorch.model.kinds import Object

_RESOURCE = kinds.NODE.resource


class NodeTaints(frame.Controller[index.Key]):
    name: ClassVar[str] = "node-lifecycle-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self.wake_on(shared.nodes, self._of_node)

    def _of_node(self, change: index.Change[views.Node]) -> Iterable[index.Key]:
        old, new = change.old, change.new
        if new is not None and (old is None or _told(old) != _told(new)):
            yield change.key

    async def reconcile(self, key: index.Key) -> float | None:
        node = self._world.nodes.get(key)
        if node is None or key[1] != self._world.node_name:
            return None
        held, stamp = _held(node), self._world.stamp()

        def change(obj: Object) -> Object:
            spec = obj.get("spec") or {}
            taints = node_taints.after(spec.get("taints") or [], held, stamp)
            if taints == (spec.get("taints") or []):
                return obj
            others = {name: value for name, value in spec.items() if name != "taints"}
            return {**obj, "spec": {**others, **({"taints": taints} if taints else {})}}

        work = self._objects.update(_RESOURCE, *key, change, durable=False)
        await frame.ignoring_absence(work)
        return None


def _held(node: views.Node) -> list[str]:
    return [each.type for each in node.status.conditions if each.status == "True"]


def _told(node: views.Node) -> tuple[list[str], list[views.Taint]]:
    return _held(node), node.spec.taints
