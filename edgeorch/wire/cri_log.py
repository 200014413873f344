"""CRI log lines: how container output rests in /var/log/pods, and how it is read back.

    2026-11-22T17:00:00.123456789Z stdout F text

The tag is F for the last piece of a line and P for one that goes on in the next entry: a line
longer than 16 KiB is cut, and output that ends without a newline stays P. Writing follows
containerd's CRI logger, reading the kubelet's (pkg/kubelet/kuberuntime/logs): `since` filters,
timestamps stand only where a line begins, a byte limit may cut within a line.
"""

from __future__ import annotations

import datetime
import re

from msgspec import Struct

LINE_LIMIT = 16 * 1024
_STREAMS = (b"stdout", b"stderr")


def stamp(nanoseconds: int) -> bytes:
    """Unix time as RFC 3339 with nine digits, UTC: equal length, so it compares as bytes."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


class Formatter:
    """Raw output of one stream in, log entries out. Holds at most one unfinished line."""

    def __init__(self, stream: str, limit: int = LINE_LIMIT) -> None:
        self._full = f" {stream} F ".encode()
        self._partial = f" {stream} P ".encode()
        self._limit = limit
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """What was fed and is in no entry yet: the beginning of a line."""
        return self._rest

    def feed(self, data: bytes, now: bytes) -> bytes:
        """`now` is the stamp of all lines that end in `data`."""
        text = self._rest + data if self._rest else data
        end = text.rfind(b"\n") + 1
        self._rest = text[end:]
        out = self._entries(text[:end], now) if end else b""
        if len(self._rest) > self._limit:
            pieces = self._pieces(self._rest)
            self._rest = pieces.pop()
            out += self._cut(pieces, now)
        return out

    def flush(self, now: bytes) -> bytes:
        """The stream ended: what is left of a line without its newline."""
        rest, self._rest = self._rest, b""
        return self._cut([rest], now) if rest else b""

    def _entries(self, text: bytes, now: bytes) -> bytes:
        """Of whole lines."""
        prefix = now + self._full
        if self._are_short(text):
            # Every newline but the last begins a line; one pass, whatever the lines are long.
            return prefix + text[:-1].replace(b"\n", b"\n" + prefix) + b"\n"
        out = []
        for line in text[:-1].split(b"\n"):
            *head, last = self._pieces(line)
            out.append(self._cut(head, now) + prefix + last + b"\n")
        return b"".join(out)

    def _are_short(self, text: bytes) -> bool:
        """Whether no line is above the limit; looks at one newline in each stretch of `limit`."""
        at = 0
        while len(text) - at > self._limit:
            newline = text.rfind(b"\n", at, at + self._limit + 1)
            if newline < 0:
                return False
            at = newline + 1
        return True

    def _pieces(self, line: bytes) -> list[bytes]:
        """Each of `limit` bytes but the last, which is not empty unless the line is."""
        limit = self._limit
        return [line[at : at + limit] for at in range(0, len(line), limit)] or [b""]

    def _cut(self, pieces: list[bytes], now: bytes) -> bytes:
        return b"".join(now + self._partial + piece + b"\n" for piece in pieces)


class Entry(Struct, frozen=True):
    """One entry of a log file. `text` holds no newline; `partial`: the line goes on."""

    stamp: bytes
    stream: bytes
    partial: bool
    text: bytes


def parse(line: bytes) -> Entry | None:
    """None for what is not a CRI log entry (`line` without its newline)."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in _STREAMS:
        return None
    # Tags are separated by colons; only the first is defined.
    tag = parts[2].partition(b":")[0]
    if tag not in (b"F", b"P"):
        return None
    return Entry(parts[0], parts[1], tag == b"P", parts[3] if len(parts) == 4 else b"")


_FULL_ENTRY = re.compile(rb"(?m)^[^ \n]+ std(?:out|err) F(?:$| )")


class Renderer:
    """Log entries in, what `kubectl logs` shows out."""

    def __init__(
        self,
        *,
        since: datetime.datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
        stream: str = "",
    ) -> None:
        """`stream` is stdout or stderr; "" shows both."""
        self._since = _since_stamp(since)
        self._timestamps = timestamps
        self._left = limit_bytes
        self._stream = stream.encode()
        self._rest = b""
        self._line_begins = True
        self._plain = not (self._since or timestamps or stream)

    @property
    def full(self) -> bool:
        """The byte limit is reached: nothing more will come out."""
        return self._left is not None and self._left <= 0

    def feed(self, block: bytes) -> bytes:
        """`block` may end anywhere; what follows its last newline waits for the next."""
        text = self._rest + block if self._rest else block
        end = text.rfind(b"\n") + 1
        self._rest = text[end:]
        return self._limited(self._rendered(text[:end]))

    def _rendered(self, text: bytes) -> bytes:
        """Of whole entries. The usual case, whole lines of which all is shown, is one pass."""
        if self._plain and text:
            shown, count = _FULL_ENTRY.subn(b"", text)
            if count == text.count(b"\n"):
                self._line_begins = True
                return shown
        return b"".join(map(self._shown, text.split(b"\n")))

    def _shown(self, line: bytes) -> bytes:
        entry = parse(line)
        if entry is None or entry.stamp < self._since:
            return b""
        if self._stream and entry.stream != self._stream:
            return b""
        prefix = entry.stamp + b" " if self._timestamps and self._line_begins else b""
        self._line_begins = not entry.partial
        return prefix + entry.text + (b"" if entry.partial else b"\n")

    def _limited(self, out: bytes) -> bytes:
        if self._left is None:
            return out
        out = out[: max(self._left, 0)]
        self._left -= len(out)
        return out


def _since_stamp(since: datetime.datetime | None) -> bytes:
    if since is None:
        return b""
    moment = since.astimezone(datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z".encode()
