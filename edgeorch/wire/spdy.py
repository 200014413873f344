"""SPDY/3.1 frames: bytes in, frames out, and back. Pure: no sockets, no roles, no stream states.

What kubectl up to 1.30 upgrades to for exec and attach, and what every port-forward speaks. Both
ends are moby/spdystream, which knows no flow control windows: the transport's is the only one, so
SETTINGS and WINDOW_UPDATE are understood and mean nothing here.

DATA comes out in pieces as it comes in (the piece that ends the frame carries its FIN), so nothing
here grows with a frame. Control frames and header blocks are bounded; beyond that, and on anything
malformed, a ProtocolError: the connection is of no more use, since its compression is lost.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

VERSION = 3
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Status codes of RST_STREAM."""
GOAWAY_OK = 0

MAX_CONTROL = 64 * 1024
MAX_HEADERS = 64 * 1024
MAX_DATA = 2**24 - 1

_WINDOW, _MEMORY = 12, 4  # of zlib: 16 + 8 KiB a connection, where the defaults take 256
_HEAD = struct.Struct(">II")
_WORD = struct.Struct(">I")
_CONTROL_BIT = 0x8000_0000
_ID_MASK = 0x7FFF_FFFF
_FIN, _UNIDIRECTIONAL = 0x01, 0x02

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS = 1, 2, 3, 4
_PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 6, 7, 8, 9

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_NAMES = [
    *_WORDS.split(),
    *("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"),
]
_VALUES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(_WORD.pack(len(n)) + n.encode() for n in _NAMES) + _VALUES.encode()
"""What both ends' compression of headers starts from (section 2.6.10.1)."""


class ProtocolError(Exception):
    """The other end does not speak SPDY/3.1, or not to its limits."""


class SynStream(Struct, frozen=True):
    stream: int
    headers: Mapping[str, str]
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


class SynReply(Struct, frozen=True):
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


class Headers(Struct, frozen=True):
    stream: int
    headers: Mapping[str, str]
    fin: bool = False


class RstStream(Struct, frozen=True):
    stream: int
    status: int


class Settings(Struct, frozen=True):
    """`values` maps a setting's number to its value."""

    values: Mapping[int, int]


class Ping(Struct, frozen=True):
    number: int


class GoAway(Struct, frozen=True):
    last_good: int
    status: int = GOAWAY_OK


class WindowUpdate(Struct, frozen=True):
    stream: int
    delta: int


class Data(Struct, frozen=True):
    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | Headers | RstStream | Settings | Ping | GoAway | WindowUpdate | Data


class Encoder:
    """Frames to bytes, for one direction of one connection, in the order they are sent."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, _MEMORY, zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream, data, fin):
                return data_head(stream, len(data), fin=fin) + data
            case SynStream():
                flags = _FIN * frame.fin | _UNIDIRECTIONAL * frame.unidirectional
                body = _HEAD.pack(frame.stream, frame.associated)
                body += bytes((frame.priority << 5, 0)) + self._block(frame.headers)
                return _control(_SYN_STREAM, flags, body)
            case SynReply(stream, headers, fin):
                body = _WORD.pack(stream) + self._block(headers)
                return _control(_SYN_REPLY, _FIN * fin, body)
            case Headers(stream, headers, fin):
                body = _WORD.pack(stream) + self._block(headers)
                return _control(_HEADERS, _FIN * fin, body)
            case RstStream(stream, status):
                return _control(_RST_STREAM, 0, _HEAD.pack(stream, status))
            case Settings(values):
                entries = b"".join(_HEAD.pack(key, value) for key, value in values.items())
                return _control(_SETTINGS, 0, _WORD.pack(len(values)) + entries)
            case Ping(number):
                return _control(_PING, 0, _WORD.pack(number))
            case GoAway(last_good, status):
                return _control(_GOAWAY, 0, _HEAD.pack(last_good, status))
            case WindowUpdate(stream, delta):
                return _control(_WINDOW_UPDATE, 0, _HEAD.pack(stream, delta))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = bytearray(_WORD.pack(len(headers)))
        for name, value in headers.items():
            for text in (name.lower(), value):
                raw = text.encode()
                plain += _WORD.pack(len(raw)) + raw
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data_head(stream: int, length: int, *, fin: bool = False) -> bytes:
    """What goes before `length` bytes of data."""
    return _HEAD.pack(stream, (_FIN * fin) << 24 | length)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(_CONTROL_BIT | VERSION << 16 | kind, flags << 24 | len(body)) + body


class Decoder:
    """Bytes to frames, for one direction of one connection. After a ProtocolError: no more."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self._data: tuple[int, int, bool] | None = None
        """Of the DATA frame under way: stream, bytes yet to come, FIN."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the frames before feeding more. Raises ProtocolError."""
        self._buffer += data
        while True:
            before = len(self._buffer)
            frame = self._next_head() if self._data is None else self._next_data(*self._data)
            if frame is not None:
                yield frame
            elif len(self._buffer) == before:
                return

    def _next_head(self) -> Frame | None:
        """A control frame; None when a DATA frame has begun, an unknown one went by, or too little

        is there: only then is the buffer as it was.
        """
        if len(self._buffer) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._buffer)
        flags, length = second >> 24, second & MAX_DATA
        if not first & _CONTROL_BIT:
            del self._buffer[: _HEAD.size]
            fin = bool(flags & _FIN)
            if not length:
                return Data(first, b"", fin)
            self._data = (first, length, fin)
            return None
        if (version := first >> 16 & 0x7FFF) != VERSION:
            raise ProtocolError(f"version {version} in a control frame")
        if length > MAX_CONTROL:
            raise ProtocolError(f"a control frame of {length} bytes")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        return self._control(first & 0xFFFF, flags, body)

    def _next_data(self, stream: int, left: int, fin: bool) -> Data | None:
        if not self._buffer:
            return None
        piece = bytes(self._buffer[:left])
        del self._buffer[:left]
        left -= len(piece)
        self._data = (stream, left, fin) if left else None
        return Data(stream, piece, fin and not left)

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        try:
            return self._parsed(kind, flags, body)
        except struct.error:
            raise ProtocolError(f"a control frame of type {kind} is too short") from None

    def _parsed(self, kind: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        match kind:
            case 1:
                stream, associated = _HEAD.unpack_from(body)
                (priority,) = struct.unpack_from(">B", body, 8)
                return SynStream(
                    stream & _ID_MASK,
                    self._headers(body[10:]),
                    fin,
                    bool(flags & _UNIDIRECTIONAL),
                    associated & _ID_MASK,
                    priority >> 5,
                )
            case 2 | 8:
                (stream,) = _WORD.unpack_from(body)
                made = SynReply if kind == _SYN_REPLY else Headers
                return made(stream & _ID_MASK, self._headers(body[4:]), fin)
            case 3:
                stream, status = _HEAD.unpack_from(body)
                return RstStream(stream & _ID_MASK, status)
            case 4:
                (count,) = _WORD.unpack_from(body)
                if count * _HEAD.size != len(body) - _WORD.size:
                    raise ProtocolError("SETTINGS of another length than it says")
                pairs = _HEAD.iter_unpack(body[_WORD.size :])
                return Settings({key & 0xFF_FFFF: value for key, value in pairs})
            case 6:
                return Ping(*_WORD.unpack_from(body))
            case 7:
                last_good, status = _HEAD.unpack_from(body)
                return GoAway(last_good & _ID_MASK, status)
            case 9:
                stream, delta = _HEAD.unpack_from(body)
                return WindowUpdate(stream & _ID_MASK, delta & _ID_MASK)
            case _:
                return None  # section 2.2: a control frame nobody knows is ignored

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS + 1)
        except zlib.error as error:
            raise ProtocolError(f"headers cannot be decompressed: {error}") from None
        if len(plain) > MAX_HEADERS or self._inflate.unconsumed_tail:
            raise ProtocolError(f"headers of more than {MAX_HEADERS} bytes")
        (count,) = _WORD.unpack_from(plain)
        found: dict[str, str] = {}
        at = _WORD.size
        for _ in range(count):
            name, at = _text(plain, at)
            found[name], at = _text(plain, at)
        return found


def _text(plain: bytes, at: int) -> tuple[str, int]:
    (length,) = _WORD.unpack_from(plain, at)
    at += _WORD.size
    if length > len(plain) - at:
        raise ProtocolError("a header is longer than its block")
    return plain[at : at + length].decode(errors="replace"), at + length
