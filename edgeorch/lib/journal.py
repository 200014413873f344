"""The log: entries with fields for journald where systemd runs us, else text on stderr.

A line is `log.info("…")` as anywhere. What it is about is known further out, and said there once:
everything logged within `with about(pod="ns/name")`, also by tasks begun there, has the field
EDGEORCH_POD. A single line's own fields are `extra=fields(…)`. Text has none of them: the message
says what people need.

journald is never waited for. What it does not take is lost, counted, and told of later.
Sources: systemd.exec(5) on JOURNAL_STREAM, sd-daemon(3),
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/, systemd.journal-fields(7).
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import pathlib
import re
import socket
import struct
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeorch.lib import metrics

SOCKET = pathlib.Path("/run/systemd/journal/socket")
SERVING = "c1147256d86a462bb891284339a22925"
STOPPING = "ec2a107d04d34a23948a9742236a87df"
AUDIT = "bf209f0b8c0744899ffb393968b0e3f8"
CONDITION = "24efbfabfe5847ce81f1a319454f2603"
"""MESSAGE_IDs of what others may wait for or look up."""

_ATTRIBUTE = "journal_fields"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_LONGEST = 32 * 1024
"""Bytes of one field: a datagram takes no more than the socket's buffer."""
_BUFFER = 1 << 20
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.CRITICAL: 2}
_ERROR = 3
_OURS = {"SYSLOG_IDENTIFIER": "edgeorch"}
_NOTHING: Mapping[str, str] = types.MappingProxyType({})
_about: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar(
    "journal_about", default=_NOTHING
)


@contextlib.contextmanager
def about(**names: str) -> Iterator[None]:
    """What is logged within concerns these: `pod="ns/name"` is the field EDGEORCH_POD."""
    token = _about.set({**_about.get(), **_named(names)})
    try:
        yield
    finally:
        _about.reset(token)


def fields(message_id: str = "", **names: str) -> dict[str, Any]:
    """`extra` for one line."""
    found = _named(names)
    if message_id:
        found["MESSAGE_ID"] = message_id
    return {_ATTRIBUTE: found}


def _named(names: Mapping[str, str]) -> dict[str, str]:
    return {f"EDGEORCH_{name.upper()}": value for name, value in names.items()}


def encode(told: Mapping[str, str]) -> bytes:
    """An entry as journald reads it. Raises ValueError for a name that it would not take."""
    parts = []
    for name, text in told.items():
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not the name of a field of the journal: {name!r}")
        value = text.encode(errors="replace")
        if len(value) > _LONGEST:
            value = value[:_LONGEST].decode(errors="ignore").encode() + "…".encode()
        if b"\n" in value:
            parts.append(b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(value)), value))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), value))
    return b"".join(parts)


def entry(record: logging.LogRecord, message: str) -> dict[str, str]:
    """All fields of a line that is logged now."""
    return {
        "MESSAGE": message,
        "PRIORITY": str(_priority(record)),
        **_OURS,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
        **_about.get(),
        **getattr(record, _ATTRIBUTE, _NOTHING),
    }


class Handler(logging.Handler):
    """Sends entries to journald. Raises OSError when nobody has ever listened there."""

    def __init__(self, path: pathlib.Path = SOCKET) -> None:
        super().__init__()
        # Without one, logging.basicConfig puts level and logger before each message.
        self.setFormatter(logging.Formatter("%(message)s"))
        self._path = str(path)
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self._untold = 0
        self.dropped = 0
        """Lines that journald did not take."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._socket.sendto(b"", self._path)  # an empty datagram is no entry
        except OSError:
            self.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = encode(entry(record, self.format(record)))
        except Exception:
            self.handleError(record)  # on stderr, not by the log
            return
        if not self._sent(data):
            self.dropped += 1
            self._untold += 1
        elif self._untold:
            lost = f"{self._untold} lines of the log are lost: journald did not take them"
            if self._sent(encode({"MESSAGE": lost, "PRIORITY": "4", **_OURS})):
                self._untold = 0

    def _sent(self, data: bytes) -> bool:
        try:
            # By name each time: one that was started anew is found.
            self._socket.sendto(data, self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
        super().close()


class _Prefixed(logging.Formatter):
    """Each line with its priority, and no time of its own."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines()
        return "\n".join(f"<{_priority(record)}>{line}" for line in lines)


def _priority(record: logging.LogRecord) -> int:
    return _PRIORITIES.get(record.levelno, _ERROR)


def reads(stream: int, told: str) -> bool:
    """Whether journald reads this descriptor. `told`: JOURNAL_STREAM, device:inode."""
    try:
        found = os.fstat(stream)
    except OSError:
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def handler(path: pathlib.Path = SOCKET) -> logging.Handler:
    """Whatever suits where stderr goes."""
    on_stderr = logging.StreamHandler(sys.stderr)
    if not reads(2, os.environ.get("JOURNAL_STREAM", "")):
        shape = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        on_stderr.setFormatter(logging.Formatter(shape))
        return on_stderr
    try:
        return Handler(path)
    except OSError:
        on_stderr.setFormatter(_Prefixed("%(name)s: %(message)s"))
        return on_stderr


def measure(registry: metrics.Registry) -> None:
    def dropped() -> float:
        ours = (each for each in logging.getLogger().handlers if isinstance(each, Handler))
        return sum(each.dropped for each in ours)

    registry.one(
        "edgeorch_log_lines_dropped_total",
        "Lines of the log that journald did not take.",
        dropped,
        kind="counter",
    )
