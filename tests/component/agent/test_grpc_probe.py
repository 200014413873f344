"""The hand-made gRPC health check against a real gRPC server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpclib
import grpclib.const
import grpclib.server
import pytest
from google.protobuf import wrappers_pb2

from edgeorch.probes import grpc


class _Health:
    """grpc.health.v1 by its bytes: the request's field 1 is a string, the answer's an enum."""

    def __init__(self, state: int) -> None:
        self.state = state
        self.asked: list[str] = []

    async def check(self, stream: Any) -> None:
        message = await stream.recv_message()
        self.asked.append(message.value)
        # UInt32Value has the wire form of a HealthCheckResponse: field 1, varint.
        await stream.send_message(wrappers_pb2.UInt32Value(value=self.state))

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/grpc.health.v1.Health/Check": grpclib.const.Handler(
                self.check,
                grpclib.const.Cardinality.UNARY_UNARY,
                wrappers_pb2.StringValue,
                wrappers_pb2.UInt32Value,
            )
        }


@pytest.fixture
async def served() -> AsyncIterator[tuple[_Health, int]]:
    health = _Health(1)
    server = grpclib.server.Server([health])
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listener)
    yield health, listener.getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("state", "result"),
    [
        (1, (True, "")),
        (2, (False, 'service unhealthy (responded with "NOT_SERVING")')),
        (0, (False, 'service unhealthy (responded with "UNKNOWN")')),
    ],
)
async def test_states(served: tuple[_Health, int], state: int, result: tuple[bool, str]) -> None:
    health, port = served
    health.state = state

    assert await grpc.probe("127.0.0.1", port, "my.Service", 5) == result
    assert health.asked == ["my.Service"]


async def test_a_port_that_nobody_serves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await grpc.probe("127.0.0.1", port, "", 5)

    why = f"transport: Error while dialing: dial tcp 127.0.0.1:{port}: connect: connection refused"
    told = f'connection error: desc = "{why}"'
    assert found == (
        False, f'error: failed to connect service at "127.0.0.1:{port}": {told}'
    )  # fmt: skip


class _Stranger:
    """A gRPC server without a health service."""

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {}


class _Unknowing(_Health):
    async def check(self, stream: Any) -> None:
        await stream.recv_message()
        raise grpclib.GRPCError(grpclib.const.Status.NOT_FOUND, "unknown service")


class _Slow(_Health):
    async def check(self, stream: Any) -> None:
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (
            _Stranger(),
            f"{grpc._NOT_SPOKEN}: Method not found",
        ),
        (
            _Unknowing(1),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (_Slow(1), "timeout: health rpc did not complete within 0.3s"),
    ],
)
async def test_what_a_server_says_instead(server: Any, told: str) -> None:
    running = grpclib.server.Server([server])
    listener = socket.create_server(("127.0.0.1", 0))
    await running.start(sock=listener)
    try:
        found = await grpc.probe("127.0.0.1", listener.getsockname()[1], "a", 0.3)
    finally:
        running.close()
        await running.wait_closed()

    assert found == (False, told)
