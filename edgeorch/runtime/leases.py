"""Leases: while one is held, the garbage collector spares what is made under it.

A lease of ours never expires by itself: `containerd.io/gc.expire` is wall time, and a device whose
clock stands in 1970 at boot and jumps later would lose its half-made image to it. Instead every
lease carries our label and says whose it is and what for, so that one that nobody needs is found.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import pathlib
from collections.abc import AsyncIterator

from msgspec import Struct

from edgeorch.lib import boots
from edgeorch.runtime import client, errors, stamps
from edgeorch.runtime.pb import leases_pb2

log = logging.getLogger(__name__)

LABEL = "edgeorch.io/lease"
OWNER = "edgeorch.io/lease-owner"
"""Boot, pid and start of the process."""
ABOUT = "edgeorch.io/lease-about"
COLLECT_TIMEOUT = 300.0


class Lease(Struct, frozen=True):
    id: str
    labels: dict[str, str]
    created_at: datetime.datetime | None


class Leases:
    def __init__(self, containerd: client.Client) -> None:
        self._client = containerd

    @contextlib.asynccontextmanager
    async def hold(
        self, lease: str, *, keep_on_error: bool = False, about: str = ""
    ) -> AsyncIterator[client.Client]:
        """A client whose makings the lease `lease` holds.

        With `keep_on_error` the lease outlives a failure, so that a download can go on where it
        stopped, in this process or the next; holding the same id again takes it up. `about` is what
        it is held for, in a label.
        """
        await self.create(lease, about)
        try:
            yield self._client.leased(lease)
        except BaseException:
            if not keep_on_error:
                await self.drop(lease)
            raise
        await self.drop(lease)

    async def list(self) -> list[Lease]:
        """Ours, by id."""
        answer = await self._client.call(
            self._client.services.leases.List,
            leases_pb2.ListRequest(filters=[f'labels."{LABEL}"']),
        )
        found = (
            Lease(lease.id, dict(lease.labels), stamps.moment(lease.created_at))
            for lease in answer.leases
        )
        return sorted(found, key=lambda lease: lease.id)

    async def remove(self, lease: str, *, sync: bool = False) -> None:
        """With `sync`, what only it held is collected before this returns."""
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.leases.Delete,
                leases_pb2.DeleteRequest(id=lease, sync=sync),
                deadline=COLLECT_TIMEOUT,
            )

    async def create(self, lease: str, about: str = "") -> None:
        """One that is there is taken up."""
        labels = {LABEL: "true", OWNER: _owner(), **({ABOUT: about} if about else {})}
        with contextlib.suppress(errors.AlreadyExists):
            await self._client.call(
                self._client.services.leases.Create,
                leases_pb2.CreateRequest(id=lease, labels=labels),
            )

    async def drop(self, lease: str) -> None:
        """What was made under the lease stands; one left behind only delays collection."""
        try:
            await self.remove(lease)
        except errors.ContainerdError as error:
            log.warning("Cannot remove lease %s: %s", lease, error)


def owner_lives(lease: Lease) -> bool:
    """Whether the process that made it still runs, in this boot."""
    boot, _, rest = lease.labels.get(OWNER, "").partition("/")
    pid, _, started = rest.partition("/")
    return boot == boots.boot_id() and pid.isdecimal() and _started(int(pid)) == started


def _owner() -> str:
    return f"{boots.boot_id()}/{os.getpid()}/{_started(os.getpid())}"


def _started(pid: int) -> str:
    """Field 22 of /proc/PID/stat: pids are used again, this with them is not."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
