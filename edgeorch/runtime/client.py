"""The connection to containerd: one channel, its metadata, deadlines, errors.

Owns the gRPC channel. Every call goes through `call` or `stream`, so that each has a deadline and
fails with an exception of errors.py. The channel connects when first used and again after
containerd went away; nothing has to be rebuilt by hand after a restart of containerd.

Messages are bounded both ways: containerd refuses more than 16 MiB, and so do we.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import grpclib.client
import grpclib.config
import grpclib.const
import grpclib.encoding.proto
import grpclib.exceptions
import h2.connection
from google.protobuf import empty_pb2

from edgeorch.lib import tasks
from edgeorch.runtime import corked, errors
from edgeorch.runtime.pb import (
    containers_grpc,
    content_grpc,
    diff_grpc,
    events_grpc,
    images_grpc,
    introspection_grpc,
    leases_grpc,
    namespaces_grpc,
    namespaces_pb2,
    snapshots_grpc,
    tasks_grpc,
    version_grpc,
)

Request = TypeVar("Request")
Response = TypeVar("Response")

# Seconds. A boltdb commit on a tired SD card takes a while, so the ordinary one is generous.
TIMEOUT = 30.0
HEALTH_TIMEOUT = 3.0
MAX_MESSAGE = 16 * 1024 * 1024

_STATUS: dict[grpclib.const.Status, type[errors.ContainerdError]] = {
    grpclib.const.Status.NOT_FOUND: errors.NotFound,
    grpclib.const.Status.ALREADY_EXISTS: errors.AlreadyExists,
    grpclib.const.Status.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpclib.const.Status.INVALID_ARGUMENT: errors.InvalidArgument,
    grpclib.const.Status.UNAVAILABLE: errors.Unavailable,
    grpclib.const.Status.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}

CLOSED_STREAMS = 1024
"""Ended calls that a connection remembers, for frames that come late. h2 would keep 65,536 of them:
9 MB after some hours of probes on one connection."""
h2.connection.H2Connection.MAX_CLOSED_STREAMS = CLOSED_STREAMS


class _BoundedCodec(grpclib.encoding.proto.ProtoCodec):
    def encode(self, message: Any, message_type: Any) -> bytes:
        data = super().encode(message, message_type)
        if len(data) > MAX_MESSAGE:
            raise errors.InvalidArgument(f"a request of {len(data)} bytes is too large")
        return data

    def decode(self, data: bytes, message_type: Any) -> Any:
        if len(data) > MAX_MESSAGE:
            raise errors.ContainerdError(f"an answer of {len(data)} bytes is too large")
        return super().decode(data, message_type)


class _Services:
    """The channel and a stub for each service."""

    def __init__(self, address: str) -> None:
        # Windows bound what a fast stream may have in flight: 1 MiB serves a local socket well.
        window = 1024 * 1024
        self.channel = corked.Channel(
            path=address,
            codec=_BoundedCodec(),
            config=grpclib.config.Configuration(
                http2_connection_window_size=2 * window, http2_stream_window_size=window
            ),
        )
        self.containers = containers_grpc.ContainersStub(self.channel)
        self.tasks = tasks_grpc.TasksStub(self.channel)
        self.images = images_grpc.ImagesStub(self.channel)
        self.content = content_grpc.ContentStub(self.channel)
        self.snapshots = snapshots_grpc.SnapshotsStub(self.channel)
        self.diff = diff_grpc.DiffStub(self.channel)
        self.leases = leases_grpc.LeasesStub(self.channel)
        self.events = events_grpc.EventsStub(self.channel)
        self.version = version_grpc.VersionStub(self.channel)
        self.namespaces = namespaces_grpc.NamespacesStub(self.channel)
        self.introspection = introspection_grpc.IntrospectionStub(self.channel)


class Client:
    """One tenant of containerd. Make it inside the running event loop."""

    def __init__(self, address: str, namespace: str) -> None:
        self.address = address
        self.namespace = namespace
        self.services = _Services(address)
        self._metadata = {"containerd-namespace": namespace}
        self._version: tuple[int, int] | None = None

    def leased(self, lease: str) -> Client:
        """The same connection; what is made through it is held by the lease."""
        view = object.__new__(Client)
        view.__dict__.update(self.__dict__)
        view._metadata = {**self._metadata, "containerd-lease": lease}
        return view

    async def call(
        self,
        method: grpclib.client.UnaryUnaryMethod[Request, Response],
        request: Request,
        *,
        deadline: float | None = TIMEOUT,
    ) -> Response:
        """`deadline` in seconds from now; None only where the answer is the end of a process."""
        asked = asyncio.create_task(
            method(request, timeout=deadline, metadata=self._metadata), name=method.name
        )
        # grpclib cancels the task that asks when the connection breaks, and raises why. Were it the
        # caller's own, a cancellation by others at the same moment would be lost in that.
        try:
            await asyncio.wait([asked])
        except asyncio.CancelledError:
            await tasks.abandon(asked)
            raise
        with native_errors(method.name):
            return asked.result()

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: grpclib.client.ServiceMethod[Request, Response],
        *,
        deadline: float | None = TIMEOUT,
    ) -> AsyncIterator[grpclib.client.Stream[Request, Response]]:
        with native_errors(method.name):
            async with method.open(timeout=deadline, metadata=self._metadata) as stream:
                yield stream

    async def health(self) -> str:
        """containerd's version, or Unavailable."""
        answer = await self.call(
            self.services.version.Version, empty_pb2.Empty(), deadline=HEALTH_TIMEOUT
        )
        return answer.version

    async def generation(self) -> tuple[int, int]:
        """(major, minor); asked once: nothing decided by it does harm after an upgrade."""
        if self._version is None:
            self._version = parse_version(await self.health())
        return self._version

    async def ensure_namespace(self) -> None:
        request = namespaces_pb2.CreateNamespaceRequest(
            namespace=namespaces_pb2.Namespace(name=self.namespace)
        )
        with contextlib.suppress(errors.AlreadyExists):
            await self.call(self.services.namespaces.Create, request)

    def close(self) -> None:
        self.services.channel.close()


def parse_version(text: str) -> tuple[int, int]:
    """`1.6.20~ds1`, `v1.7.24`, `2.1.0-rc.1` → (major, minor); (0, 0) when it is none of that."""
    parts = text.lstrip("v").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return (0, 0)
    return (int(parts[0]), int(parts[1]))


@contextlib.contextmanager
def native_errors(call: str) -> Iterator[None]:
    try:
        yield
    except grpclib.exceptions.GRPCError as error:
        kind = _STATUS.get(error.status, errors.ContainerdError)
        raise kind(error.message or f"{call}: {error.status.name}") from None
    except TimeoutError as error:
        raise errors.DeadlineExceeded(f"containerd did not answer {call} in time") from error
    except grpclib.exceptions.StreamTerminatedError as error:
        raise errors.Unavailable(f"the connection to containerd broke: {error}") from error
    except OSError as error:
        raise errors.Unavailable(f"cannot reach containerd: {error}") from error
