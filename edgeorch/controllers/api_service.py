"""`default/kubernetes`: how pods find the API, kept on the device's address as it changes.

A Service without selector on the first ClusterIP, with an EndpointSlice and an Endpoints object
that name the node. Owns these three; they are put right at start and on every change of address.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from edgeorch.lib import backoff
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

NAMESPACE, NAME = "default", "kubernetes"
RETRY = backoff.Policy(initial=0.2, factor=2.0, cap=30.0)
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


class ApiService:
    name = "api service"

    def __init__(self, objects: Objects, port: int) -> None:
        self._objects = objects
        self._port = port
        self._address = ""
        self._news = asyncio.Event()

    def move(self, address: str) -> None:
        """The node answers at `address` from now on; "" while it has none."""
        self._address = address
        self._news.set()

    async def run(self) -> None:
        failures = 0
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.ensure()
                failures = 0
            except errors.StatusError as error:
                log.warning("cannot publish the API's Service: %s", error)
                asyncio.get_running_loop().call_later(RETRY.delay(failures), self._news.set)
                failures += 1

    async def ensure(self) -> None:
        """Make the three objects what they should be. Raises StatusError."""
        await self._put(kinds.SERVICE, self._service())
        await self._put(kinds.ENDPOINTS, self._endpoints())
        await self._put(kinds.ENDPOINT_SLICE, self._slice())

    async def _put(self, kind: kinds.Kind, wanted: Object) -> None:
        if self._objects.find(kind.resource, NAMESPACE, NAME) is None:
            await self._objects.create(kind.resource, wanted)
            return

        def change(obj: Object) -> Object:
            kept = {**obj, **wanted, "metadata": obj["metadata"]}
            if "spec" in wanted:
                kept["spec"] = {**obj["spec"], **wanted["spec"]}
            return kept

        await self._objects.update(kind.resource, NAMESPACE, NAME, change)

    def _service(self) -> Object:
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": self._port}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(_LABELS)},
            "spec": {"type": "ClusterIP", "ports": [port]},
        }

    def _endpoints(self) -> Object:
        subset = {
            "addresses": [{"ip": self._address}],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }
        # The label keeps the mirroring of hand-made Endpoints away from these.
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        return {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
            "subsets": [subset] if self._address else [],
        }

    def _slice(self) -> Object:
        ready = {"addresses": [self._address], "conditions": {"ready": True}}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": "IPv4",
            "endpoints": [ready] if self._address else [],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }
