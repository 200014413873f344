"""Services of type LoadBalancer → status.loadBalancer.

All of them are decided together, since addresses and ports are shared; there are few. Those with a
loadBalancerClass are somebody else's. The status is durable: clients know an address by heart.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import load_balancing
from edgeorch.model import kinds, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.SERVICE.resource
_ALL = "all"


class LoadBalancers(frame.Controller[str]):
    name: ClassVar[str] = "service-lb-controller"
    workers: ClassVar[int] = 1

    def __init__(
        self,
        shared: world.World,
        pool: load_balancing.Pool,
        reserved: frozenset[load_balancing.Port] = frozenset(),
    ) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._pool = pool
        self._reserved = reserved
        self._own: tuple[str, ...] = ()
        self._told: dict[index.Key, str] = {}
        """Why a Service has nothing, as its last event said."""
        self.wake_on(shared.services, self._of_service)

    def move(self, own: tuple[str, ...]) -> None:
        """The device has these addresses from now on."""
        if own != self._own:
            self._own = own
            self.wake(_ALL)

    def _of_service(self, change: index.Change[projections.Service]) -> Iterable[str]:
        if any(each is not None and each.balanced for each in (change.old, change.new)):
            yield _ALL
        if change.new is None:
            self._told.pop(change.key, None)

    async def reconcile(self, key: str) -> float | None:
        services = {
            (view.metadata.namespace, view.metadata.name): view for view in self._balanced()
        }
        grants = load_balancing.grant(
            (_request(view) for view in services.values()), self._own, self._pool, self._reserved
        )
        for name, granted in grants.items():
            await self._give(name, services[name], granted)
        return None

    def _balanced(self) -> Iterator[views.Service]:
        for key in self._world.services.keys(projections.BALANCED):
            stored = self._objects.find(_RESOURCE, *key)
            if stored is not None:
                yield stored.view(views.Service)

    async def _give(
        self, key: index.Key, service: views.Service, granted: load_balancing.Grant
    ) -> None:
        if granted.addresses != _held(service):
            change = functools.partial(_with_ingress, granted=granted.addresses)
            await frame.ignoring_absence(
                self._objects.update(_RESOURCE, *key, change, subresource="status", durable=True)
            )
        if granted.why_not and self._told.get(key) != granted.why_not:
            stored = self._objects.find(_RESOURCE, *key)
            if stored is not None:
                message = f"Error syncing load balancer: {granted.why_not}"
                self._events.event(
                    stored.decode(), recorder.WARNING, "SyncLoadBalancerFailed", message
                )
        self._told[key] = granted.why_not


def _held(service: views.Service) -> tuple[str, ...]:
    ingress = (service.status.get("loadBalancer") or {}).get("ingress") or []
    return tuple(entry["ip"] for entry in ingress if entry.get("ip"))


def _request(service: views.Service) -> load_balancing.Request:
    meta, spec = service.metadata, service.spec
    return load_balancing.Request(
        key=(meta.namespace, meta.name),
        created=meta.creation_timestamp or "",
        ports=frozenset((port.protocol, port.port) for port in spec.ports),
        held=_held(service),
        wanted=spec.load_balancer_ip,
    )


def _with_ingress(obj: Object, granted: tuple[str, ...]) -> Object:
    if obj["spec"].get("type") != "LoadBalancer":
        return obj
    ingress = [{"ip": address, "ipMode": "VIP"} for address in granted]
    balancer: Object = {"ingress": ingress} if ingress else {}
    return {**obj, "status": {**(obj.get("status") or {}), "loadBalancer": balancer}}
