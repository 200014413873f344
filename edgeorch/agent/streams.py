"""exec, attach and port-forward as the API asks for them, done by the runtime and the network.

Fulfils the ports that edgeorch.api.ports declares. Failures become Status errors in the words that
the kubelet and containerd's CRI plugin use, because people search for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Protocol

from edgeorch.model import errors
from edgeorch.net import netns
from edgeorch.runtime import errors as runtime_errors
from edgeorch.runtime import execs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from edgeorch.model.kinds import Object
    from edgeorch.runtime import attach

_EXEC = "error executing command in container"
_ATTACH = "error attaching to container"
_READ_LIMIT = 64 * 1024
_CONNECT_WITHIN = 30.0


class _Running(Protocol):
    """What execs.ExecProcess and attach.Attachment have in common."""

    def outputs(self) -> Mapping[str, AsyncIterator[bytes]]: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def wait(self) -> int: ...


class _Process:
    """A running process whose failures are Status errors."""

    def __init__(self, process: _Running, what: str) -> None:
        self._process = process
        self._what = what

    def outputs(self) -> Mapping[str, AsyncIterator[bytes]]:
        return self._process.outputs()

    async def write(self, data: bytes) -> None:
        await self._process.write(data)

    async def close_stdin(self) -> None:
        with _told(self._what):
            await self._process.close_stdin()

    async def resize(self, width: int, height: int) -> None:
        # A terminal that is going away cannot be resized, and nobody needs it to be.
        with contextlib.suppress(runtime_errors.ContainerdError):
            await self._process.resize(width, height)

    async def wait(self) -> int:
        with _told(self._what):
            return await self._process.wait()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """containerd's failures as Status errors."""
    try:
        yield
    except runtime_errors.ContainerdError as error:
        raise errors.internal(f"{what}: {error}") from None


class _Opening(contextlib.AbstractAsyncContextManager["_Process"]):
    """Only failures to open are translated here: what goes on inside passes through."""

    def __init__(self, opening: AbstractAsyncContextManager[_Running], what: str) -> None:
        self._opening = opening
        self._what = what

    async def __aenter__(self) -> _Process:
        with _told(self._what):
            return _Process(await self._opening.__aenter__(), self._what)

    async def __aexit__(self, *error: object) -> None:
        await self._opening.__aexit__(*error)  # type: ignore[arg-type]


class PodExecs:
    def __init__(self, commands: execs.Execs) -> None:
        self._commands = commands

    def open(
        self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[_Process]:
        wanted = execs.Command(list(command), terminal=tty, stdin=stdin)
        what = f"{_EXEC}: failed to exec in container: failed to start exec"
        return _Opening(self._commands.open(container_id, wanted), what)


class PodAttachments:
    def __init__(self, attachments: attach.Attachments) -> None:
        self._attachments = attachments

    def open(
        self, container_id: str, *, stdin: bool, once: bool, tty: bool
    ) -> AbstractAsyncContextManager[_Process]:
        opening = self._attachments.open(container_id, stdin=stdin, once=once, tty=tty)
        return _Opening(opening, _ATTACH)


class PodDialer:
    """Connects to localhost inside a pod's network namespace, where pods listen that trust only it.

    `pins` is the folder in which the namespaces are pinned by pod uid.
    """

    def __init__(self, pins: pathlib.Path) -> None:
        self._pins = pins

    async def connect(
        self, pod: Object, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """IPv4 first. Raises StatusError."""
        pin = self._pins / pod["metadata"]["uid"]
        where = f'failed to execute portforward in network namespace "{pin}"'
        try:
            if pod["spec"].get("hostNetwork"):
                where, sockets = "failed to execute portforward on the host", _sockets()
            else:
                sockets = await asyncio.to_thread(netns.run_in, pin, _sockets)
        except OSError as error:
            raise errors.internal(f"{where}: {error}") from None
        failures = []
        try:
            for sock, address in zip(sockets, ("127.0.0.1", "::1"), strict=False):
                try:
                    return await _connected(sock, address, port)
                except OSError as error:
                    failures.append(_told_dial(sock, address, port, error))
        finally:
            for sock in sockets:
                sock.close()
        told = " ".join(failures)
        message = f"{where}: failed to connect to localhost:{port} inside namespace, {told}"
        raise errors.StatusError(500, "InternalError", message)


def _sockets() -> list[socket.socket]:
    """One for each family that the kernel has."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            found.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
    return found


async def _connected(
    sock: socket.socket, address: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(_CONNECT_WITHIN):
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return await asyncio.open_connection(sock=sock.dup(), limit=_READ_LIMIT)


def _told_dial(sock: socket.socket, address: str, port: int, error: OSError) -> str:
    """As Go's net package says it."""
    six = sock.family == socket.AF_INET6
    why = os.strerror(error.errno).lower() if error.errno else "i/o timeout"
    if six:
        return f"IPv6 dial tcp6 [{address}]:{port}: connect: {why}"
    return f"IPv4: dial tcp4 {address}:{port}: connect: {why}"
