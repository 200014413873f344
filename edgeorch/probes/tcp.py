"""TCP probes: a port that accepts a connection is well. Errors are worded as Go's dialer does."""

from __future__ import annotations

import asyncio
import errno
import os

_WORDS = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "connect: connection timed out",
    errno.ECONNRESET: "read: connection reset by peer",
}


async def probe(host: str, port: int, limit: float) -> tuple[bool, str]:
    """Whether it succeeded, and what to say if not."""
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return False, f"dial tcp {_joined(host, port)}: i/o timeout"
    except OSError as error:
        return False, dial_error(host, port, error)
    writer.transport.abort()
    return True, ""


def dial_error(host: str, port: int, error: OSError) -> str:
    told = _WORDS.get(error.errno or 0)
    if told is None:
        told = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {_joined(host, port)}: {told}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
