"""One check of a container, for probes and for hooks: exec, httpGet, tcpSocket, grpc, sleep.

Results are values: whether it went well and what to say if not, in the kubelet's words.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeorch.probes import grpc, http, tcp
from edgeorch.runtime import errors, execs

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.model import views

_MAX_OUTPUT = 10 * 1024


class Unknown(Exception):
    """The check could not be made at all, so it says nothing about the container."""


class Checks:
    def __init__(self, commands: ports.Execs) -> None:
        self._execs = commands

    async def probe(
        self, probe: views.Probe, container: views.Container, container_id: str, ip: str
    ) -> tuple[bool, str]:
        """Raises Unknown."""
        timeout = float(max(1, probe.timeout_seconds))
        if probe.exec is not None:
            return await self.exec(container_id, probe.exec.command, timeout)
        if probe.http_get is not None:
            return await http.probe(_request(probe.http_get, container, ip), timeout)
        if probe.tcp_socket is not None:
            port = _port(probe.tcp_socket.port, container)
            return await tcp.probe(probe.tcp_socket.host or ip, port, timeout)
        if probe.grpc is not None:
            return await grpc.probe(ip, probe.grpc.port, probe.grpc.service, timeout)
        raise Unknown("the probe names no way to ask")

    async def hook(
        self,
        handler: views.LifecycleHandler,
        container: views.Container,
        container_id: str,
        ip: str,
    ) -> tuple[bool, str]:
        """As long as it takes; whoever calls bounds it. Raises Unknown."""
        if handler.exec is not None:
            return await self.exec(container_id, handler.exec.command, None)
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
            return True, ""
        if handler.http_get is not None:
            return await http.probe(_request(handler.http_get, container, ip), _HOOK_HTTP_TIMEOUT)
        if handler.tcp_socket is not None:
            port = _port(handler.tcp_socket.port, container)
            return await tcp.probe(handler.tcp_socket.host or ip, port, _HOOK_HTTP_TIMEOUT)
        return True, ""

    async def exec(
        self, container_id: str, command: list[str], limit: float | None
    ) -> tuple[bool, str]:
        try:
            result = await self._execs.run(
                container_id,
                execs.Command(command),
                limit=limit if limit is not None else _FOREVER,
            )
        except errors.ExecTimeout as error:
            return False, f"command timed out: {error}"
        except (errors.Unavailable, errors.NotFound) as error:
            raise Unknown(str(error)) from error
        except errors.ContainerdError as error:
            return False, f"cannot exec: {error}"
        output = result.output.decode("utf-8", "replace")[:_MAX_OUTPUT]
        return result.exit_code == 0, output


_FOREVER = 365 * 86400.0
_HOOK_HTTP_TIMEOUT = 30.0


def _request(action: views.HttpGetAction, container: views.Container, ip: str) -> http.Request:
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    return http.Request(
        scheme=action.scheme.lower(),
        host=action.host or ip,
        port=_port(action.port, container),
        path=path,
        headers=tuple((header.name, header.value) for header in action.http_headers),
    )


def _port(port: int | str, container: views.Container) -> int:
    """Raises Unknown for a name that the container does not have."""
    if isinstance(port, int):
        return port
    for known in container.ports:
        if known.name == port:
            return known.container_port
    if port.isdigit():
        return int(port)
    raise Unknown(f"couldn't find port: {port}")
