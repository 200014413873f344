"""Leases: while one is held, the garbage collector spares what is made under it.

A lease of ours never expires by itself: `containerd.io/gc.expire` is wall time, and a device whose
clock stands in 1970 at boot and jumps later would lose its half-made image to it. Instead every
lease carries our label, and `sweep` at start removes those a dead process left.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from edgeorch.runtime import client, errors
from edgeorch.runtime.pb import leases_pb2

log = logging.getLogger(__name__)

LABEL = "edgeorch.io/lease"


class Leases:
    def __init__(self, containerd: client.Client) -> None:
        self._client = containerd

    @contextlib.asynccontextmanager
    async def hold(
        self, lease: str, *, keep_on_error: bool = False
    ) -> AsyncIterator[client.Client]:
        """A client whose makings the lease `lease` holds.

        With `keep_on_error` the lease outlives a failure, so that a download can go on where it
        stopped, in this process or the next; holding the same id again takes it up.
        """
        await self._create(lease)
        try:
            yield self._client.leased(lease)
        except BaseException:
            if not keep_on_error:
                await self._drop(lease)
            raise
        await self._drop(lease)

    async def ids(self) -> list[str]:
        answer = await self._client.call(
            self._client.services.leases.List,
            leases_pb2.ListRequest(filters=[f'labels."{LABEL}"']),
        )
        return sorted(lease.id for lease in answer.leases)

    async def remove(self, lease: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.leases.Delete, leases_pb2.DeleteRequest(id=lease)
            )

    async def sweep(self, keep_prefix: str) -> list[str]:
        """Remove our leases but those that begin with `keep_prefix`; the ids removed.

        Only at start, before anything holds a lease.
        """
        stale = [lease for lease in await self.ids() if not lease.startswith(keep_prefix)]
        for lease in stale:
            await self.remove(lease)
        return stale

    async def _create(self, lease: str) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            await self._client.call(
                self._client.services.leases.Create,
                leases_pb2.CreateRequest(id=lease, labels={LABEL: "true"}),
            )

    async def _drop(self, lease: str) -> None:
        # What was made under the lease stands; a lease left behind only delays collection.
        try:
            await self.remove(lease)
        except errors.ContainerdError as error:
            log.warning("Cannot remove lease %s: %s", lease, error)
