"""What the API needs from the rest of the house: declared here, given by app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio
    import datetime
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from edgeorch.model import bundles
    from edgeorch.model.kinds import Object
    from edgeorch.store.stored import Stored

    Check = Callable[[], str | None]
    """A health check: None when all is well, else the reason."""


class LogReader(Protocol):
    """Output of containers. PodLogOptions, already checked against the pod."""

    def read(
        self,
        namespace: str,
        pod: str,
        uid: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        since_seconds: int | None = None,
        since_time: datetime.datetime | None = None,
        timestamps: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        stream: str = "",
    ) -> AsyncIterator[bytes]:
        """The lines as they are written. Raises StatusError before the first chunk."""


class Usage(Protocol):
    """Of a container or of the machine. `window`: over how many seconds `cpu` was measured."""

    @property
    def cpu(self) -> int:
        """Nanoseconds of one core in a second."""

    @property
    def memory(self) -> int:
        """Bytes of the working set."""

    @property
    def window(self) -> float: ...


class Meter(Protocol):
    """Measures when it is asked."""

    async def node(self) -> Usage | None: ...

    async def pods(
        self, names: set[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Mapping[str, Usage]]:
        """Usage of the running containers of pods, given by namespace and name."""

    async def summary(self, *, only_cpu_and_memory: bool = False) -> Object:
        """The kubelet's Summary (stats/v1alpha1) of this node."""


class Bundles(Protocol):
    """What takes the pushes of a fleet."""

    async def verify(self, bundle: str, manifests: bytes, signature: str) -> None:
        """Raises StatusError (403) for manifests that nobody trusted has signed."""

    async def push(
        self, asked: bundles.Push, check: Callable[[Stored | None], None]
    ) -> bundles.Outcome:
        """`check` looks at the Bundle as it is, and may raise. Raises StatusError."""

    def manifests(self, name: str, version: str) -> bytes | None:
        """As they were sent; None for a version that is not kept."""


class Process(Protocol):
    """Something with standard streams: a command run in a container, or the container itself."""

    def outputs(self) -> Mapping[str, AsyncIterator[bytes]]:
        """stdout and stderr (none with a terminal), read only as fast as they are taken."""

    async def write(self, data: bytes) -> None:
        """To stdin; returns when it is in the pipe, or nobody will read it."""

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit code. Raises StatusError when it cannot be known."""


class Execs(Protocol):
    def open(
        self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Process]:
        """Runs it; what still runs when the context is left is killed. Raises StatusError."""


class Attachments(Protocol):
    def open(
        self, container_id: str, *, stdin: bool, once: bool, tty: bool
    ) -> AbstractAsyncContextManager[Process]:
        """The container's own streams, from now on. `once`: the first stdin to end is the last.

        Raises StatusError.
        """


class Dialer(Protocol):
    async def connect(
        self, pod: Object, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the pod's own localhost. Raises StatusError, whose message says why."""


class Streams(Struct, frozen=True):
    """What exec, attach and port-forward work on."""

    execs: Execs
    attachments: Attachments
    dialer: Dialer
