"""gRPC probes: one call of grpc.health.v1.Health/Check, spoken just far enough in HTTP/2.

A health check is one small request and one small answer on a fresh connection, so no HTTP/2 stack
is needed: the request's headers go out as literals (RFC 7541 section 6.2.2), the answer's one DATA
frame is read, and of its headers only what tells why there is none.

Sources: RFC 9113 (frames), grpc/doc/PROTOCOL-HTTP2.md, grpc/doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
import struct
import urllib.parse

from edgeorch.probes import tcp

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_PADDED, _PRIORITY = 8, 32
_UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE = 12, 13, 14
_CODES = {
    1: "Canceled", 2: "Unknown", 3: "InvalidArgument", 4: "DeadlineExceeded", 5: "NotFound",
    6: "AlreadyExists", 7: "PermissionDenied", 8: "ResourceExhausted", 9: "FailedPrecondition",
    10: "Aborted", 11: "OutOfRange", 12: "Unimplemented", 13: "Internal", 14: "Unavailable",
    15: "DataLoss", 16: "Unauthenticated",
}  # fmt: skip
_NOT_SPOKEN = (
    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
)
_MAX_FRAME = 16 * 1024
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1


class RpcError(Exception):
    """The server's own word that it cannot answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


async def probe(host: str, port: int, service: str, limit: float) -> tuple[bool, str]:
    """Whether it succeeded, and what to say if not."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connected = False
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(host, port)
            connected = True
            try:
                writer.write(request(shown, service))
                state = await _answer(reader, writer)
            finally:
                writer.transport.abort()
    except TimeoutError:
        if connected:
            return False, f"timeout: health rpc did not complete within {limit:g}s"
        told = "context deadline exceeded"
        return False, f'timeout: failed to connect service "{shown}" within {limit:g}s: {told}'
    except RpcError as error:
        if error.code == _UNIMPLEMENTED:
            return False, f"{_NOT_SPOKEN}: {error}"
        told = f"rpc error: code = {_CODES.get(error.code, 'Unknown')} desc = {error}"
        return False, f"error: health rpc probe failed: {told}"
    except (OSError, asyncio.IncompleteReadError) as error:
        why = "error reading server preface: EOF"
        if isinstance(error, OSError):
            why = f"transport: Error while dialing: {tcp.dial_error(host, port, error)}"
        told = f'connection error: desc = "{why}"'
        return False, f'error: failed to connect service at "{shown}": {told}'
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


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The serving status. Raises RpcError, IncompleteReadError."""
    body, block = b"", b""
    heads = _Headers()
    while True:
        head = await reader.readexactly(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if size > _MAX_FRAME:
            raise RpcError(_INTERNAL, "received frame length exceeds the limit")
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            body += _unpadded(payload, flags)
            if len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
                return status(body[5:])
        elif kind in (_HEADERS, _CONTINUATION):
            block += _unpadded(payload, flags, priority=True) if kind == _HEADERS else payload
            if flags & _END_HEADERS:
                heads.feed(block)
                block = b""
        elif kind in (_RST_STREAM, _GOAWAY):
            raise RpcError(_UNAVAILABLE, "the stream was closed by the server")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            raise heads.error()


class _Headers:
    """What the answer's headers and trailers say of the call."""

    def __init__(self) -> None:
        import hpack  # came with h2, which talks to containerd

        self._decoder = hpack.Decoder()
        self._seen: dict[str, str] = {}

    def feed(self, block: bytes) -> None:
        """Raises RpcError."""
        try:
            decoded = self._decoder.decode(block, raw=True)
        except Exception as error:  # hpack's own, and what odd bytes lead it to
            raise RpcError(_INTERNAL, f"cannot read the headers: {error}") from error
        self._seen |= {bytes(n).decode("latin-1"): bytes(v).decode("latin-1") for n, v in decoded}

    def error(self) -> RpcError:
        """Of an answer that ended without a message."""
        code = self._seen.get("grpc-status", "")
        told = urllib.parse.unquote(self._seen.get("grpc-message", ""))
        if code.isdigit() and int(code):
            return RpcError(int(code), told)
        http = self._seen.get(":status", "")
        if http == "404":
            return RpcError(_UNIMPLEMENTED, "unexpected HTTP status code received from server: 404")
        return RpcError(_INTERNAL, told or "server closed the stream without sending a message")


def _unpadded(payload: bytes, flags: int, *, priority: bool = False) -> bytes:
    """RFC 9113 sections 6.1 and 6.2."""
    start, end = 0, len(payload)
    if flags & _PADDED and payload:
        start, end = 1, end - payload[0]
    if priority and flags & _PRIORITY:
        start += 5
    return payload[start:end]


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
