"""DNS for pods as one thing: the zone, those who fill it and those who answer from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container

from edgeorch.core import dns_zone
from edgeorch.dns import answering, forward, server, settings
from edgeorch.lib import clock as clocks
from edgeorch.lib import metrics, tasks
from edgeorch.proxy import records
from edgeorch.store import objects


class Dns:
    def __init__(
        self,
        store: objects.Objects,
        clock: clocks.Clock,
        chosen: settings.Settings,
        own_addresses: Callable[[], Container[str]],
        settled: asyncio.Event | None = None,
    ) -> None:
        """`own_addresses`: the device's, who may ask for any name as pods may. `settled` is set
        once EndpointSlices have been made anew from adopted pods."""
        self.zone = dns_zone.Zone(
            chosen.domain,
            chosen.service_address,
            [chosen.pod_cidr, chosen.service_cidr],
        )
        self._settled = settled
        self._records = records.Records(store, self.zone)
        self.forwarder = forward.Forwarder(chosen, clock)
        self.server = server.Server(
            answering.Answering(self.zone, self.forwarder, chosen, clock, own_addresses), chosen
        )

    def health(self) -> str | None:
        """Why names may not be found, or None."""
        return self.server.health()

    def measure(self, registry: metrics.Registry) -> None:
        self.server.measure(registry)
        registry.one(
            "edgeorch_dns_cache_entries",
            "Answers of resolvers that are kept.",
            lambda: len(self.forwarder.cached),
        )

    def network_changed(self) -> None:
        """The device's addresses or routes have: resolvers that have failed may answer now."""
        self.forwarder.network_changed()

    async def run(self) -> None:
        """Serve for ever."""
        self._records.load()
        loops = {
            "records of Services": self._records.run,
            "DNS server": lambda: self.server.run(self._settled),
        }
        async with asyncio.TaskGroup() as group:
            for name, loop in loops.items():
                group.create_task(tasks.supervise(name, loop), name=name)
