"""Commands run inside a running container: for probes and hooks (`run`), for kubectl exec (`open`).

An exec is a further process of the container's task, with FIFOs of its own. It takes user,
capabilities and environment from the container's OCI process. Whoever opened an ExecProcess owns
it; leaving the context kills what still runs, and Execs removes every trace a little later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

from google.protobuf import any_pb2
from msgspec import Struct

from edgeorch.lib import json, tasks
from edgeorch.runtime import client, containers, errors, stdio
from edgeorch.runtime.pb import tasks_pb2

log = logging.getLogger(__name__)

PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
OUTPUT_LIMIT = 10 * 1024  # what the kubelet keeps of a probe's output
READ_SIZE = 32 * 1024
FORMER_SECONDS = 2.0
EOF_GRACE = 1.0  # seconds that output may come after the process ended (its children hold the pipe)


class ExecResult(Struct, frozen=True):
    """`output` is stdout and stderr as they came, cut at the limit."""

    exit_code: int
    output: bytes


class Command(Struct, frozen=True):
    """`env` is added to the container's; `cwd` and `user` ("" / None) default to the container's.

    `user` is an OCI process.user object.
    """

    args: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str = ""
    user: Mapping[str, Any] | None = None
    terminal: bool = False
    stdin: bool = False


def process_spec(container_spec: bytes, command: Command) -> bytes:
    """The OCI process of an exec, from the spec of its container."""
    process: dict[str, Any] = dict(json.decode(container_spec)["process"])
    process["args"] = list(command.args)
    process["terminal"] = command.terminal
    process.pop("consoleSize", None)
    if command.env:
        kept = [
            entry
            for entry in process.get("env") or []
            if entry.partition("=")[0] not in command.env
        ]
        process["env"] = kept + [f"{name}={value}" for name, value in command.env.items()]
    if command.terminal and not any(
        entry.startswith("TERM=") for entry in process.get("env") or []
    ):
        process["env"] = [*(process.get("env") or []), "TERM=xterm"]
    if command.cwd:
        process["cwd"] = command.cwd
    if command.user is not None:
        process["user"] = dict(command.user)
    return json.encode(process)


class Execs:
    def __init__(
        self,
        containerd: client.Client,
        records: containers.Containers,
        fifos: stdio.StdioDir,
    ) -> None:
        self._client = containerd
        self._records = records
        self._fifos = fifos
        # The shim takes up to 10 s to delete an exec whose children still hold its output.
        self._ending: set[asyncio.Task[None]] = set()
        self._own_ids: set[str] = set()

    async def close(self) -> None:
        """Wait until no exec leaves anything behind."""
        await asyncio.gather(*self._ending)

    async def run(
        self,
        container_id: str,
        command: Command,
        *,
        limit: float,
        stdin: bytes = b"",
        output_limit: int = OUTPUT_LIMIT,
    ) -> ExecResult:
        """Run to the end. Raises ExecTimeout after `limit` seconds (it is killed), NotFound."""
        output = bytearray()

        async def collect(source: AsyncIterator[bytes]) -> None:
            async for data in source:
                output.extend(data[: max(0, output_limit - len(output))])

        async with self.open(container_id, command) as process:
            try:
                async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
                    for source in process.outputs().values():
                        group.create_task(collect(source))
                    if command.stdin:
                        group.create_task(process.feed(stdin))
                    exit_code = await process.wait()
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
            except TimeoutError:
                raise errors.ExecTimeout(f'command "{" ".join(command.args)}" timed out') from None
        return ExecResult(exit_code, bytes(output))

    @contextlib.asynccontextmanager
    async def open(self, container_id: str, command: Command) -> AsyncIterator[ExecProcess]:
        """A running process. Raises NotFound, ContainerdError when the program cannot be run."""
        spec = process_spec(await self._records.spec(container_id), command)
        exec_id = f"exec-{os.urandom(8).hex()}"
        self._own_ids.add(exec_id)
        # In place, on a tmpfs: who is cancelled while a thread makes them would leave them there.
        io = self._fifos.make(container_id, exec_id, terminal=command.terminal, stdin=command.stdin)
        process = ExecProcess(self._client, container_id, exec_id, io)
        try:
            await process.start(spec)
            yield process
        finally:
            # Whoever opened it may be cancelled at any moment; the process must not outlive that.
            closing = self._own(process.close(), f"close {exec_id}")
            self._own(self._delete(closing, process, exec_id), f"delete {exec_id}")
            await asyncio.shield(closing)

    async def end_former(self) -> None:
        """End what a former process ran in containers: nobody hears or feeds it any more."""
        for container_id in await asyncio.to_thread(self._fifos.container_ids):
            for exec_id in await asyncio.to_thread(self._fifos.exec_ids, container_id):
                if exec_id in self._own_ids:
                    continue
                await self._end_former(container_id, exec_id)
                await asyncio.to_thread(self._fifos.remove, container_id, exec_id)

    async def _end_former(self, container_id: str, exec_id: str) -> None:
        # Where it died while the shim opened them, the shim still waits for the other end.
        with self._fifos.read(container_id, exec_id):
            await self._kill_former(container_id, exec_id)

    async def _kill_former(self, container_id: str, exec_id: str) -> None:
        services = self._client.services
        with contextlib.suppress(errors.ContainerdError):
            kill = tasks_pb2.KillRequest(
                container_id=container_id, exec_id=exec_id, signal=signal.SIGKILL
            )
            await self._client.call(services.tasks.Kill, kill)
            wait = tasks_pb2.WaitRequest(container_id=container_id, exec_id=exec_id)
            await self._client.call(services.tasks.Wait, wait, deadline=FORMER_SECONDS)
        with contextlib.suppress(errors.ContainerdError):
            delete = tasks_pb2.DeleteProcessRequest(container_id=container_id, exec_id=exec_id)
            await self._client.call(services.tasks.DeleteProcess, delete)

    def _own(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _delete(
        self, closing: asyncio.Task[None], process: ExecProcess, exec_id: str
    ) -> None:
        await asyncio.wait([closing])
        container_id = process.container_id
        request = tasks_pb2.DeleteProcessRequest(container_id=container_id, exec_id=exec_id)
        # Gone with its container, or containerd is away: then it goes with the container's task.
        with contextlib.suppress(errors.ContainerdError):
            await self._client.call(self._client.services.tasks.DeleteProcess, request)
        process.release()
        await asyncio.to_thread(self._fifos.remove, container_id, exec_id)
        self._own_ids.discard(exec_id)


class ExecProcess:
    """One exec: read its outputs, write its stdin, resize its terminal, wait for its end."""

    def __init__(
        self, containerd: client.Client, container_id: str, exec_id: str, io: stdio.Stdio
    ) -> None:
        self._client = containerd
        self.container_id = container_id
        self._exec_id = exec_id
        self._io = io
        self._starting: asyncio.Task[None] | None = None
        self._outputs: dict[str, _Output] = {}
        self._stdin: tuple[int, int] | None = None
        self._waiting: asyncio.Task[int] | None = None

    def outputs(self) -> dict[str, AsyncIterator[bytes]]:
        """stdout and stderr (none with a terminal), each to be read by one reader to its end."""
        return {name: output.read() for name, output in self._outputs.items()}

    async def wait(self) -> int:
        """The exit code. Raises Unavailable when containerd goes away meanwhile."""
        if self._waiting is None:
            raise errors.FailedPrecondition(f"{self._exec_id} was not started")
        return await asyncio.shield(self._waiting)

    async def write(self, data: bytes) -> None:
        """To stdin; returns when it is in the pipe, or the process has ended."""
        view = memoryview(data)
        while view and self._stdin is not None and not self._ended():
            try:
                view = view[os.write(self._stdin[0], view) :]
            except BlockingIOError:
                await self._writable(self._stdin[0])

    async def close_stdin(self) -> None:
        """End of file for the process."""
        if self._stdin is None:
            return
        for fd in self._stdin:
            os.close(fd)
        self._stdin = None
        request = tasks_pb2.CloseIORequest(
            container_id=self.container_id, exec_id=self._exec_id, stdin=True
        )
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.CloseIO, request)

    async def feed(self, data: bytes) -> None:
        """All of stdin at once."""
        await self.write(data)
        await self.close_stdin()

    async def resize(self, width: int, height: int) -> None:
        request = tasks_pb2.ResizePtyRequest(
            container_id=self.container_id, exec_id=self._exec_id, width=width, height=height
        )
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.ResizePty, request)

    async def kill(self, signal: int) -> None:
        request = tasks_pb2.KillRequest(
            container_id=self.container_id, exec_id=self._exec_id, signal=signal
        )
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.Kill, request)

    async def start(self, spec: bytes) -> None:
        """What is begun is ended, also where whoever waits for it is cancelled: a shim that finds
        no reader at a FIFO waits for one for ever, and takes no other call of its container.
        """
        self._starting = asyncio.create_task(self._start(spec), name=f"start {self._exec_id}")
        await asyncio.shield(self._starting)

    async def _start(self, spec: bytes) -> None:
        services = self._client.services
        for name, path in self._io.outputs().items():
            self._outputs[name] = _Output(path)
        if self._io.stdin:
            self._stdin = stdio.open_stdin(self._io.stdin)
        await self._client.call(
            services.tasks.Exec,
            tasks_pb2.ExecProcessRequest(
                container_id=self.container_id,
                exec_id=self._exec_id,
                stdin=self._io.stdin,
                stdout=self._io.stdout,
                stderr=self._io.stderr,
                terminal=self._io.terminal,
                spec=any_pb2.Any(type_url=PROCESS_TYPE, value=spec),
            ),
        )
        await self._client.call(
            services.tasks.Start,
            tasks_pb2.StartRequest(container_id=self.container_id, exec_id=self._exec_id),
        )
        self._waiting = asyncio.create_task(self._wait(), name=f"wait {self._exec_id}")

    async def close(self) -> None:
        """Kill it if it runs."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        try:
            await self._end()
        finally:
            if self._waiting is not None:  # else the shim may still be about to open them
                self.release()

    def release(self) -> None:
        """Close our ends of its pipes."""
        for output in self._outputs.values():
            output.close()
        if self._stdin is not None:
            for fd in self._stdin:
                os.close(fd)
            self._stdin = None

    async def _end(self) -> None:
        if self._waiting is None:
            return
        if not self._waiting.done():
            try:
                await self.kill(containers.SIGKILL)
                await asyncio.wait([self._waiting], timeout=client.TIMEOUT)
            except errors.ContainerdError as error:
                log.warning("Cannot kill %s in %s: %s", self._exec_id, self.container_id, error)
        await tasks.abandon(self._waiting)  # whoever waits for the process is told

    async def _wait(self) -> int:
        answer = await self._client.call(
            self._client.services.tasks.Wait,
            tasks_pb2.WaitRequest(container_id=self.container_id, exec_id=self._exec_id),
            deadline=None,
        )
        for output in self._outputs.values():
            output.expire(EOF_GRACE)
        return answer.exit_status

    def _ended(self) -> bool:
        return self._waiting is not None and self._waiting.done()

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(fd, _wake, ready)
        either: list[asyncio.Future[Any]] = [ready]
        if self._waiting is not None:
            either.append(self._waiting)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_writer(fd)


class _Output:
    """One output FIFO, read only as fast as it is taken: the pipe holds the rest.

    The shim has opened its end before Start returns, so reading nothing is the end.
    """

    def __init__(self, path: str) -> None:
        self._fd = stdio.open_output(path)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] | None = None
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> AsyncIterator[bytes]:
        while self._fd >= 0:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                if self._expired:
                    return
                await self._readable()
                continue
            if not data:
                return
            yield data

    def expire(self, grace: float) -> None:
        """The process ended: what comes within `grace` seconds is its last."""
        self._timer = self._loop.call_later(grace, self._expire)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._expire()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _expire(self) -> None:
        self._expired = True
        if self._ready is not None:
            _wake(self._ready)

    async def _readable(self) -> None:
        self._ready = ready = self._loop.create_future()
        fd = self._fd
        self._loop.add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
