"""The healthCheckNodePort of Services whose external traffic stays on the node.

A load balancer in front of several devices asks here whether this one has endpoints: 200 when it
has, 503 when not, with the same JSON as kube-proxy's (pkg/proxy/healthcheck). One listener a port;
answers come from what the proxy told last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from msgspec import Struct

from edgeorch.lib import json

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
MOST_BYTES = 8192


class Check(Struct, frozen=True):
    namespace: str
    name: str
    local_endpoints: int

    def answer(self) -> bytes:
        body = json.encode(
            {
                "service": {"namespace": self.namespace, "name": self.name},
                "localEndpoints": self.local_endpoints,
                "serviceProxyHealthy": True,
            }
        )
        status = "200 OK" if self.local_endpoints else "503 Service Unavailable"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"X-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: "
            f"{self.local_endpoints}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


class HealthPorts:
    def __init__(self) -> None:
        self._checks: dict[int, Check] = {}
        self._listeners: dict[int, asyncio.Server] = {}

    async def serve(self, checks: Mapping[int, Check]) -> None:
        """These and no others, by port. A port that cannot be had is logged and tried next time."""
        self._checks = dict(checks)
        for port in self._listeners.keys() - checks.keys():
            self._listeners.pop(port).close()
        for port in checks.keys() - self._listeners.keys():
            try:
                self._listeners[port] = await asyncio.start_server(
                    lambda reader, writer, p=port: self._serve(reader, writer, p),  # type: ignore[misc]
                    host="0.0.0.0",
                    port=port,
                    limit=MOST_BYTES,
                )
            except OSError as error:
                log.warning("Cannot serve healthCheckNodePort %d: %s", port, error)

    def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(READ_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                check = self._checks.get(port)
                if check is not None:
                    writer.write(check.answer())
                    await writer.drain()
        writer.close()
