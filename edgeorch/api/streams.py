"""pods/exec, pods/attach, pods/portforward: which container, which streams, over what.

GET opens a WebSocket, POST (or GET) upgrades to SPDY/3.1. What is wrong with the request is
answered as a Status before the upgrade, what is wrong with the pod in the kubelet's words: as text
to a client that upgrades to SPDY or speaks an old subprotocol, over the error channel to one of
version 5, as it would get it from an API server that translates.

Imported with the first stream; nothing here is in memory before.

Source: pkg/registry/core/pod/strategy.go, k8s.io/kubelet cri/streaming, KEP-4006
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, web

from edgeorch.api import links, podlogs, portforward, remote_commands, responses
from edgeorch.model import errors
from edgeorch.wire import channels, remote_command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from edgeorch.api import longrunning, ports
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

_SPDY = "spdy/3.1"
_VERSION = "X-Stream-Protocol-Version"
_ACCEPTED = "X-Accepted-Stream-Protocol-Versions"
_LONGEST = 30 * 24 * 3600.0
_PREFIX = "containerd://"
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_SPECS = ("containers", "initContainers", "ephemeralContainers")


class _Refused(Exception):
    """What the kubelet answers with a text instead of a Status."""

    def __init__(self, message: str, code: int = 500, accepted: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.accepted = accepted


async def serve(
    call: Call,
    objects: Objects,
    target: Target,
    streams: ports.Streams,
    running: longrunning.LongRunning,
) -> web.StreamResponse:
    """Raises StatusError before the upgrade, nothing afterwards."""
    pod = objects.get(target.kind.resource, *target.key).decode()
    upgrade = call.header("Upgrade").lower()
    if "upgrade" not in call.header("Connection").lower() or upgrade not in ("websocket", _SPDY):
        raise errors.bad_request("Upgrade request required")
    if not pod["spec"].get("nodeName"):
        raise errors.bad_request(f"pod {target.name} does not have a host assigned")
    stream = _Stream(call, running, pod, upgrade == _SPDY)
    try:
        if target.subresource == "portforward":
            return await _portforward(stream, streams.dialer)
        return await _remote_command(stream, streams, target.subresource)
    except _Refused as refused:
        found = responses.text(call, f"{refused}\n", code=refused.code)
        found.headers.extend((_ACCEPTED, name) for name in refused.accepted)
        return found


class _Stream:
    """One request on its way to being a connection."""

    def __init__(
        self, call: Call, running: longrunning.LongRunning, pod: Object, spdy: bool
    ) -> None:
        self.call = call
        self.pod = pod
        self.spdy = spdy
        self._running = running

    def offered(self) -> list[str]:
        """The WebSocket subprotocols."""
        return _names(self.call.header("Sec-WebSocket-Protocol"))

    def spdy_version(self, known: tuple[str, ...]) -> str:
        """Raises _Refused (403) with what would have been taken, (400) when nothing is asked."""
        asked = _names(self.call.header(_VERSION))
        if not asked:
            raise _Refused(f"unable to upgrade: {_VERSION} is required", 400)
        for name in asked:
            if name in known:
                return name
        told = f"client supports [{' '.join(asked)}], server supports [{' '.join(known)}]"
        raise _Refused(f"unable to negotiate protocol: {told}", 403, known)

    async def over_spdy(
        self, version: str, talk: Callable[[links.Link], Awaitable[None]]
    ) -> web.StreamResponse:
        """Upgrade and talk until that ends, or the server closes. Raises StatusError (429)."""
        with self._running.hold(self.call, _LONGEST) as deadline:
            try:
                headers = {"Upgrade": "SPDY/3.1", _VERSION: version}
                link = links.take_over(self.call.request, headers)
                await deadline.within(talk(link))
                await link.close()
            except links.Gone:
                pass
            except Exception:
                # The connection is HTTP's no longer: nobody else may answer.
                log.exception("A stream failed (audit id %s)", self.call.audit_id)
        return links.Upgraded()

    async def over_socket(
        self, protocol: str, talk: Callable[[links.Socket], Awaitable[None]]
    ) -> web.StreamResponse:
        """The same with a WebSocket. Raises StatusError (400, 429)."""
        with self._running.hold(self.call, _LONGEST) as deadline:
            protocols = [protocol] if protocol else []
            response, socket = await links.open_socket(self.call.request, protocols)
            await deadline.within(talk(socket))
            if not response.closed:
                await response.close(code=WSCloseCode.GOING_AWAY, drain=False)
        return response


def _names(header: str) -> list[str]:
    return [name for part in header.split(",") if (name := part.strip())]


# --- exec and attach ------------------------------------------------------------------------------


async def _remote_command(
    stream: _Stream, streams: ports.Streams, subresource: str
) -> web.StreamResponse:
    call, pod = stream.call, stream.pod
    container = podlogs.container_of(pod, call.query.get("container", ""))
    tty = call.flag("tty")
    if subresource == "attach":
        # Whether a running process has a terminal is decided already.
        tty = bool(_spec_of(pod, container).get("tty"))
    wanted = remote_commands.Wanted(
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr") and not tty,
        tty=tty,
    )
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise _Refused("you must specify at least 1 of stdin, stdout, stderr", 400)
    command = call.request.rel_url.query.getall("command", [])
    if subresource == "exec" and not command:
        raise errors.bad_request("you must specify at least one command for the container")

    def opening() -> AbstractAsyncContextManager[ports.Process]:
        id_ = _running_id(pod, container)
        if subresource == "exec":
            return streams.execs.open(id_, command, stdin=wanted.stdin, tty=tty)
        once = bool(_spec_of(pod, container).get("stdinOnce"))
        return streams.attachments.open(id_, stdin=wanted.stdin, once=once, tty=tty)

    if stream.spdy:
        return await _over_spdy(stream, opening(), wanted)
    return await _over_socket(stream, opening, wanted)


async def _over_spdy(
    stream: _Stream,
    opening: AbstractAsyncContextManager[ports.Process],
    wanted: remote_commands.Wanted,
) -> web.StreamResponse:
    protocol = stream.spdy_version(remote_command.SPDY_PROTOCOLS)

    async def talk(link: links.Link) -> None:
        peer = remote_commands.SpdyPeer(link, remote_command.version_of(protocol))
        if await peer.open(wanted):
            await remote_commands.run(peer, opening, wanted)

    return await stream.over_spdy(protocol, talk)


async def _over_socket(
    stream: _Stream,
    opening: Callable[[], AbstractAsyncContextManager[ports.Process]],
    wanted: remote_commands.Wanted,
) -> web.StreamResponse:
    protocol = channels.negotiate(stream.offered(), channels.REMOTE_COMMAND)
    if protocol is None:
        raise _unknown_subprotocol(stream.offered())
    process: AbstractAsyncContextManager[ports.Process]
    try:
        process = opening()
    except _Refused as refused:
        if protocol.version < 5:
            raise
        process = _Unavailable(f"unable to upgrade connection: {refused}")

    async def talk(socket: links.Socket) -> None:
        peer = remote_commands.SocketPeer(socket, protocol)
        await peer.greet(wanted)
        await remote_commands.run(peer, process, wanted)

    return await stream.over_socket(protocol.name, talk)


class _Unavailable(contextlib.AbstractAsyncContextManager["ports.Process"]):
    """A process that cannot be had, which is told of once the client is connected."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def __aenter__(self) -> ports.Process:
        raise errors.internal(self._why)

    async def __aexit__(self, *_: object) -> None:
        pass


def _unknown_subprotocol(offered: list[str]) -> errors.StatusError:
    return errors.bad_request(f"none of the WebSocket subprotocols is known: {', '.join(offered)}")


def _spec_of(pod: Object, container: str) -> Object:
    for field in _SPECS:
        for found in pod["spec"].get(field) or []:
            if found["name"] == container:
                return dict(found)
    return {}


def _running_id(pod: Object, container: str) -> str:
    """containerd's name of a running container. Raises _Refused."""
    for field in _STATUSES:
        for status in (pod.get("status") or {}).get(field) or []:
            if status.get("name") == container and "running" in (status.get("state") or {}):
                return str(status.get("containerID", "")).removeprefix(_PREFIX)
    raise _Refused(f'container not found ("{container}")')


# --- port-forward ---------------------------------------------------------------------------------


async def _portforward(stream: _Stream, dialer: ports.Dialer) -> web.StreamResponse:
    forwarder = portforward.Forwarder(dialer, stream.pod)
    if not stream.spdy and portforward.TUNNEL not in stream.offered():
        return await _by_channels(stream, forwarder)
    if not stream.spdy:
        _check_running(stream.pod)

        async def tunnel(socket: links.Socket) -> None:
            await portforward.SpdyForwarding(socket, forwarder).run()

        return await stream.over_socket(portforward.TUNNEL, tunnel)
    protocol = stream.spdy_version((portforward.PROTOCOL,))
    _check_running(stream.pod)

    async def talk(link: links.Link) -> None:
        await portforward.SpdyForwarding(link, forwarder).run()

    return await stream.over_spdy(protocol, talk)


async def _by_channels(stream: _Stream, forwarder: portforward.Forwarder) -> web.StreamResponse:
    protocol = channels.negotiate(stream.offered(), channels.PORT_FORWARD)
    if protocol is None:
        raise _unknown_subprotocol(stream.offered())
    asked = portforward.ports_of(stream.call.request.rel_url.query.getall("ports", []))
    _check_running(stream.pod)

    async def talk(socket: links.Socket) -> None:
        await portforward.SocketForwarding(socket, protocol, forwarder, asked).run()

    return await stream.over_socket(protocol.name, talk)


def _check_running(pod: Object) -> None:
    """Raises _Refused."""
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase != "Running":
        meta = pod["metadata"]
        name = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        raise _Refused(f"unable to forward port because pod {name} is not running: it is {phase}")
