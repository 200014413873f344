"""One check of a container, for probes and for hooks: exec, httpGet, tcpSocket, grpc, sleep.

Results are values: whether it went well and what to say if not, in the kubelet's words.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import structs

from edgeorch.lib import json
from edgeorch.probes import grpc, http, tcp
from edgeorch.runtime import errors, execs

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.model import views

_MAX_OUTPUT = 10 * 1024


class Unknown(Exception):
    """The check could not be made at all, so it says nothing about the container."""


class Unreachable(Unknown):
    """The container or containerd is away at the moment: not worth a word."""


class Checks:
    def __init__(self, commands: ports.Execs) -> None:
        self._execs = commands

    async def probe(
        self, probe: views.Probe, container: views.Container, container_id: str, ip: str
    ) -> tuple[bool, str]:
        """Raises Unknown."""
        timeout = float(max(1, probe.timeout_seconds))
        if probe.exec is not None:
            well, output = await self.exec(container_id, probe.exec.command, timeout)
            return well, "" if well else output
        if probe.http_get is not None:
            try:
                return await http.probe(_request(probe.http_get, container, ip), timeout)
            except http.BodyError as error:
                raise Unknown(str(error)) from error
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
            return await self._exec_hook(container_id, handler.exec.command)
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.seconds)
            return True, ""
        if handler.http_get is not None:
            return await _call(_request(handler.http_get, container, ip))
        if handler.tcp_socket is not None:
            port = _port(handler.tcp_socket.port, container)
            return await tcp.probe(handler.tcp_socket.host or ip, port, _HOOK_HTTP_TIMEOUT)
        return True, ""

    async def _exec_hook(self, container_id: str, command: list[str]) -> tuple[bool, str]:
        words = " ".join(command)
        try:
            result = await self._run(container_id, command, _FOREVER)
        except Unknown as error:
            return False, f"{error}, message: {_quoted('')}"
        if result.exit_code == 0:
            return True, ""
        output = _quoted(result.output.decode("utf-8", "replace"))
        told = f"command '{words}' exited with {result.exit_code}: {_text(result)}"
        return False, f"{told}, message: {output}"

    async def exec(self, container_id: str, command: list[str], limit: float) -> tuple[bool, str]:
        """Whether it exited with 0, and its output. Raises Unknown."""
        try:
            result = await self._run(container_id, command, limit)
        except errors.ExecTimeout:
            words = _quoted(" ".join(command))
            return False, f"command timed out: {words} timed out after {limit:g}s"
        return result.exit_code == 0, _text(result)

    async def _run(self, container_id: str, command: list[str], limit: float) -> execs.ExecResult:
        """Raises Unknown, ExecTimeout."""
        try:
            return await self._execs.run(container_id, execs.Command(command), limit=limit)
        except errors.ExecTimeout:
            raise
        except (errors.Unavailable, errors.NotFound) as error:
            raise Unreachable(str(error)) from error
        except errors.ContainerdError as error:
            told = f"failed to exec in container: failed to start exec: {error}"
            raise Unknown(f"rpc error: code = Unknown desc = {told}") from error


def _quoted(text: str) -> str:
    return json.encode(text).decode()


def _text(result: execs.ExecResult) -> str:
    return result.output.decode("utf-8", "replace")[:_MAX_OUTPUT]


async def _call(request: http.Request) -> tuple[bool, str]:
    """A hook's request: any answer will do. A plain server behind an https hook gets one more."""
    asked = structs.replace(request, agent=http.HOOK_USER_AGENT)
    try:
        async with asyncio.timeout(_HOOK_HTTP_TIMEOUT):
            try:
                await http.fetch(asked)
            except http.HttpError as error:
                if "HTTP response to HTTPS client" not in str(error):
                    raise
                await http.fetch(structs.replace(asked, scheme="http"))
    except TimeoutError:
        return False, f'Get "{request.url}": context deadline exceeded'
    except http.BodyError:
        return True, ""
    except http.HttpError as error:
        return False, f'Get "{request.url}": {error}'
    return True, ""


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
