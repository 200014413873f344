"""Services that the device itself provides: how pods find the API and DNS.

`default/kubernetes` leads to the API on the node's address, or on the bridge's while it has none;
`kube-system/kube-dns` to the DNS server on the bridge's. Each is a Service without selector with an
EndpointSlice and an Endpoints object. Owns these; they are put right at start, on every change of
an address, and when somebody deletes or edits one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.lib import backoff, tasks
from edgeorch.model import errors, kinds
from edgeorch.store import watch

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

RETRY = backoff.Policy(initial=0.2, factor=2.0, cap=30.0)

API = ("default", "kubernetes")
DNS = ("kube-system", "kube-dns")

_KINDS = (kinds.SERVICE, kinds.ENDPOINTS, kinds.ENDPOINT_SLICE)


class Port(Struct, frozen=True):
    name: str
    protocol: str
    port: int
    target: int


class DeviceService(Struct, frozen=True):
    """One of them, as it shall be."""

    namespace: str
    name: str
    ports: tuple[Port, ...]
    labels: dict[str, str] = field(default_factory=dict)
    cluster_ip: str = ""
    """"": the allocator knows."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def api(port: int, cluster_ip: str = "") -> DeviceService:
    """On the first address of the Service range, which the allocator keeps for it."""
    return DeviceService(
        *API,
        ports=(Port("https", "TCP", 443, port),),
        labels={"component": "apiserver", "provider": "kubernetes"},
        cluster_ip=cluster_ip,
    )


def dns(cluster_ip: str, port: int = 53) -> DeviceService:
    return DeviceService(
        *DNS,
        ports=(Port("dns", "UDP", 53, port), Port("dns-tcp", "TCP", 53, port)),
        labels={
            "k8s-app": "kube-dns",
            "kubernetes.io/cluster-service": "true",
            "kubernetes.io/name": "CoreDNS",
        },
        cluster_ip=cluster_ip,
    )


class DeviceServices:
    name = "device services"

    def __init__(self, objects: Objects, services: Iterable[DeviceService]) -> None:
        self._objects = objects
        self._services = {service.key: service for service in services}
        self._addresses = dict.fromkeys(self._services, "")
        self._news = asyncio.Event()
        self._trouble: str | None = None

    def health(self) -> str | None:
        """Why one of them may be missing, or None."""
        return self._trouble

    def move(self, key: tuple[str, str], address: str) -> None:
        """What provides this Service answers at `address` from now on; "" while it does not."""
        self._addresses[key] = address
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ensure_for_ever(), name=self.name)
            keys = {kind.resource: set(self._services) for kind in _KINDS}
            keys[kinds.NAMESPACE.resource] = {("", space) for space, _ in self._services}
            for resource, wanted in keys.items():
                group.create_task(
                    tasks.supervise(
                        f"watch of {resource} for {self.name}",
                        lambda r=resource, k=wanted: self._follow(r, k),  # type: ignore[misc]
                    ),
                    name=f"{self.name}: {resource}",
                )

    async def _follow(self, resource: str, keys: set[tuple[str, str]]) -> None:
        while True:
            try:
                async with self._objects.watch(resource) as changes:
                    self._news.set()
                    async for batch in changes:
                        if any(event.stored.key in keys for event in batch):
                            self._news.set()
            except watch.Expired:
                log.info("Watch of %s fell behind; looking at all", resource)

    async def _ensure_for_ever(self) -> None:
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            self._trouble = await self._try()
            if self._trouble is None:
                failures = 0
                continue
            log.warning("%s", self._trouble)
            asyncio.get_running_loop().call_later(RETRY.delay(failures), self._news.set)
            failures += 1

    async def _try(self) -> str | None:
        trouble = None
        for service in self._services.values():
            if self._objects.find(kinds.NAMESPACE.resource, "", service.namespace) is None:
                continue  # at the first start it is on its way, and wakes us
            try:
                await self.ensure(service)
            except errors.StatusError as error:
                trouble = f"cannot publish Service {service.namespace}/{service.name}: {error}"
        return trouble

    async def ensure(self, service: DeviceService) -> None:
        """Make its three objects what they should be. Raises StatusError."""
        address = self._addresses[service.key]
        await self._remove_misplaced(service)
        await self._put(kinds.SERVICE, _service(service))
        await self._put(kinds.ENDPOINTS, _endpoints(service, address))
        await self._put(kinds.ENDPOINT_SLICE, _slice(service, address))

    async def _remove_misplaced(self, service: DeviceService) -> None:
        """A ClusterIP cannot be changed: after a change of the Service range begin anew."""
        found = self._objects.find(kinds.SERVICE.resource, *service.key)
        if found is None or not service.cluster_ip:
            return
        held = found.decode()["spec"].get("clusterIP")
        if held != service.cluster_ip:
            log.info("Service %s/%s moves from %s", service.namespace, service.name, held)
            await self._objects.delete(kinds.SERVICE.resource, *service.key)

    async def _put(self, kind: kinds.Kind, wanted: Object) -> None:
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        if self._objects.find(kind.resource, namespace, name) is None:
            await self._objects.create(kind.resource, wanted)
            return

        def change(obj: Object) -> Object:
            meta = obj["metadata"]
            labels = {**(meta.get("labels") or {}), **wanted["metadata"].get("labels", {})}
            kept = {**obj, **wanted, "metadata": {**meta, "labels": labels}}
            if "spec" in wanted:
                kept["spec"] = {**obj["spec"], **wanted["spec"]}
            return kept

        await self._objects.update(kind.resource, namespace, name, change)


def _metadata(service: DeviceService, labels: dict[str, str]) -> Object:
    return {"name": service.name, "namespace": service.namespace, "labels": labels}


def _service(service: DeviceService) -> Object:
    ports = [
        {"name": p.name, "port": p.port, "protocol": p.protocol, "targetPort": p.target}
        for p in service.ports
    ]
    spec: Object = {"type": "ClusterIP", "ports": ports}
    if service.cluster_ip:
        spec |= {"clusterIP": service.cluster_ip, "clusterIPs": [service.cluster_ip]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service, dict(service.labels)),
        "spec": spec,
    }


def _target_ports(service: DeviceService) -> list[Object]:
    return [{"name": p.name, "port": p.target, "protocol": p.protocol} for p in service.ports]


def _endpoints(service: DeviceService, address: str) -> Object:
    subset = {"addresses": [{"ip": address}], "ports": _target_ports(service)}
    # The label keeps the mirroring of hand-made Endpoints away from these.
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": _metadata(service, labels),
        "subsets": [subset] if address else [],
    }


def _slice(service: DeviceService, address: str) -> Object:
    ready = {"addresses": [address], "conditions": {"ready": True}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(service, {"kubernetes.io/service-name": service.name}),
        "addressType": "IPv4",
        "endpoints": [ready] if address else [],
        "ports": _target_ports(service),
    }
