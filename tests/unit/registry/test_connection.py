"""What a registry that cannot be reached is told as."""

from __future__ import annotations

import errno
import socket

import aiohttp
import pytest
from aiohttp import client_reqrep

from edgeorch.registry import connection

KEY = client_reqrep.ConnectionKey("reg.example", 5000, True, True, None, None, None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(
            aiohttp.ClientConnectorDNSError(
                KEY, socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            ),
            "dial tcp: lookup reg.example: temporary failure in name resolution",
            id="no name",
        ),
        pytest.param(
            aiohttp.ClientConnectorError(
                KEY, OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
            ),
            "dial tcp reg.example:5000: connect: connection refused",
            id="no listener",
        ),
        pytest.param(TimeoutError(), "TimeoutError", id="silence"),
        pytest.param(aiohttp.ClientPayloadError("cut short"), "cut short", id="another"),
    ],
)
def test_what_failed_on_the_way(error: Exception, told: str) -> None:
    assert connection.told_of(error) == told
