"""The node's Lease in kube-node-lease: a sign of life for whoever watches the device from outside.

Renewed every ten seconds as the kubelet does (KEP-589), in memory alone: Leases are volatile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

NAMESPACE = "kube-node-lease"
DURATION = 40
"""Seconds after which others may think the node dead."""
RENEW_EVERY = 10.0
_SOON = 0.5


class Heartbeat:
    def __init__(self, objects: Objects, clock: clocks.Clock, node_name: str) -> None:
        self._objects = objects
        self._clock = clock
        self._node_name = node_name

    async def run(self) -> None:
        """For ever."""
        while True:
            pause = RENEW_EVERY
            try:
                await self._beat()
            except errors.StatusError as error:
                # The namespace or the node is still to come, or somebody else was quicker.
                if error.code not in (403, 404, 409):
                    raise
                pause = _SOON
            await asyncio.sleep(pause)

    async def _beat(self) -> None:
        resource, name = kinds.LEASE.resource, self._node_name
        if self._objects.find(resource, NAMESPACE, name) is None:
            node = self._objects.get(kinds.NODE.resource, "", name).decode()
            await self._objects.create(resource, self._lease(node))
            return

        def renew(obj: Object) -> Object:
            spec = dict(obj.get("spec") or {})
            spec["renewTime"] = self._now()
            return {**obj, "spec": spec}

        await self._objects.update(resource, NAMESPACE, name, renew)

    def _lease(self, node: Object) -> Object:
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self._node_name,
            "uid": node["metadata"]["uid"],
        }
        meta = {"name": self._node_name, "namespace": NAMESPACE, "ownerReferences": [owner]}
        return {
            "apiVersion": kinds.LEASE.api_version,
            "kind": kinds.LEASE.kind,
            "metadata": meta,
            "spec": {
                "holderIdentity": self._node_name,
                "leaseDurationSeconds": DURATION,
                "renewTime": self._now(),
            },
        }

    def _now(self) -> str:
        """A MicroTime."""
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
