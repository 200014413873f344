"""Services, their EndpointSlices and Namespaces of the store, as the zone that DNS answers from.

The only writer of the zone. A change of a Service or of one of its slices makes the records of that
Service anew from the store and exchanges them: nothing is kept here but which slices belong to
whom. Everything that has happened is carried out in the step that hears of it, without awaiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from edgeorch.core import dns_records, dns_zone
from edgeorch.lib import tasks
from edgeorch.model import kinds, views
from edgeorch.store import objects, stored, watch

log = logging.getLogger(__name__)

SERVICES = kinds.SERVICE.resource
SLICES = kinds.ENDPOINT_SLICE.resource
NAMESPACES = kinds.NAMESPACE.resource
SERVICE_NAME = "kubernetes.io/service-name"

Name = tuple[str, str]


class Records:
    def __init__(self, store: objects.Objects, zone: dns_zone.Zone) -> None:
        self._store = store
        self._zone = zone
        self._owners: dict[Name, Name] = {}
        """By slice, the Service it belongs to."""
        self._slices: dict[Name, set[Name]] = {}
        """By Service, its slices."""
        self._namespaces: set[str] = set()

    def load(self) -> None:
        """Make the zone what the store says now."""
        self._list_slices()
        self._list_services()
        self._list_namespaces()

    async def run(self) -> None:
        """Follow the store for ever."""
        followed: tuple[tuple[str, Callable[[], None], _Seen], ...] = (
            (SLICES, self._list_slices, self._slice_seen),
            (SERVICES, self._list_services, self._service_seen),
            (NAMESPACES, self._list_namespaces, self._namespace_seen),
        )
        async with asyncio.TaskGroup() as group:
            for resource, relist, seen in followed:
                group.create_task(
                    tasks.supervise(
                        f"watch of {resource} for names",
                        lambda r=resource, a=relist, s=seen: self._follow(r, a, s),  # type: ignore[misc]
                    ),
                    name=f"records: {resource}",
                )

    async def _follow(self, resource: str, relist: Callable[[], None], seen: _Seen) -> None:
        """List, then watch; when the watch falls behind, list again."""
        while True:
            try:
                async with self._store.watch(resource) as changes:
                    relist()
                    async for batch in changes:
                        for event in batch:
                            seen(event.stored, event.type == watch.DELETED)
            except watch.Expired:
                log.info("Watch of %s fell behind; listing again", resource)

    # --- Services -------------------------------------------------------------------------------

    def _list_services(self) -> None:
        present = {item.key for item in self._store.list(SERVICES).items}
        for key in present | set(self._zone.services):
            self._make(key)

    def _service_seen(self, item: stored.Stored, deleted: bool) -> None:
        self._make(item.key)

    def _make(self, key: Name) -> None:
        """The records of this Service, from what the store has now."""
        self._zone.put(key, self._records(key))

    def _records(self, key: Name) -> dns_records.ServiceRecords | None:
        service = self._store.find(SERVICES, *key)
        if service is None:
            return None
        names = sorted(self._slices.get(key, ()))
        found = [self._store.find(SLICES, *name) for name in names]
        slices = [each.view(views.EndpointSlice) for each in found if each is not None]
        try:
            return dns_records.service_records(
                service.view(views.Service), slices, self._zone.domain
            )
        except ValueError as error:
            log.warning("Service %s/%s has no names: %s", *key, error)
            return None

    # --- EndpointSlices -------------------------------------------------------------------------

    def _list_slices(self) -> None:
        items = self._store.list(SLICES).items
        for gone in self._owners.keys() - {item.key for item in items}:
            self._belongs(gone, None)
        for item in items:
            self._slice_seen(item, False)

    def _slice_seen(self, item: stored.Stored, deleted: bool) -> None:
        owner: Name | None = None
        if not deleted:
            name = item.view(_Labelled).metadata.labels.get(SERVICE_NAME)
            owner = (item.namespace, name) if name else None
        self._belongs(item.key, owner)

    def _belongs(self, key: Name, owner: Name | None) -> None:
        """The slice is this Service's (None: nobody's, or gone) and may have changed."""
        former = self._owners.pop(key, None)
        if former is not None and former != owner:
            self._slices[former].discard(key)
            if not self._slices[former]:
                del self._slices[former]
            self._make(former)
        if owner is not None:
            self._owners[key] = owner
            self._slices.setdefault(owner, set()).add(key)
            self._make(owner)

    # --- Namespaces -----------------------------------------------------------------------------

    def _list_namespaces(self) -> None:
        items = self._store.list(NAMESPACES).items
        present = {item.name for item in items}
        for name in self._namespaces - present:
            self._zone.put_namespace(name, False)
        for name in present:
            self._zone.put_namespace(name, True)
        self._namespaces = present

    def _namespace_seen(self, item: stored.Stored, deleted: bool) -> None:
        self._zone.put_namespace(item.name, not deleted)
        (self._namespaces.discard if deleted else self._namespaces.add)(item.name)


class _Labelled(views.View, frozen=True, kw_only=True):
    """Of a slice, whose it is."""

    metadata: views.Meta


_Seen = Callable[[stored.Stored, bool], None]
