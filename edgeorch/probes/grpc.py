"""gRPC probes: one call of grpc.health.v1.Health/Check, spoken just far enough in HTTP/2.

A health check is one small request and one small answer on a fresh connection, so no HTTP/2 stack
is needed: the request's headers go out as literals (RFC 7541 section 6.2.2), the answer's headers
are not read, its one DATA frame is. A server that answers without data has no such service.

Sources: RFC 9113 (frames), grpc/doc/PROTOCOL-HTTP2.md, grpc/doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
import struct

from edgeorch.probes import tcp

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_MAX_FRAME = 16 * 1024
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


async def probe(host: str, port: int, service: str, limit: float) -> tuple[bool, str]:
    """Whether it succeeded, and what to say if not."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request(shown, service))
                state = await _answer(reader, writer)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return False, f'timeout: failed to connect service "{shown}" within {limit:g}s'
    except asyncio.IncompleteReadError:
        return False, "error: this server does not implement the grpc health protocol"
    except OSError as error:
        return False, f"error: {tcp.dial_error(host, port, error)}"
    if state is None:
        return False, "error: this server does not implement the grpc health protocol"
    if state != _SERVING:
        return False, f'service unhealthy (responded with "{_STATES.get(state, state)}")'
    return True, ""


def request(authority: str, service: str) -> bytes:
    """The whole conversation of the client but for acknowledgements."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe"),
    )
    block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers)
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, body)
    )


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
    """The serving status; None when the stream ends without one."""
    body = b""
    while True:
        head = await reader.readexactly(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if size > _MAX_FRAME:
            return None
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            body += payload
            if len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
                return status(body[5:])
        elif kind in (_RST_STREAM, _GOAWAY):
            return None
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            return None


def status(message: bytes) -> int:
    """Field 1 of a HealthCheckResponse; absent is UNKNOWN."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload
    )


def _literal(text: str) -> bytes:
    """A string without Huffman coding; ours are shorter than 127 bytes but for odd hosts."""
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
