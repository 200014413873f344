"""What exec and attach say besides the streams themselves: how it ended, how large the window is.

Pure. From version 4 on, the end is a metav1.Status whose cause ExitCode carries the code; before,
a failure is its text and success is silence.

Source: k8s.io/apimachinery util/remotecommand, k8s.io/kubelet cri/streaming/remotecommand
"""

from __future__ import annotations

import json
from collections.abc import Iterator

SPDY_PROTOCOLS = (
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
"""X-Stream-Protocol-Version, as the kubelet knows them: v5 is for WebSockets only."""

NON_ZERO, EXIT_CODE = "NonZeroExitCode", "ExitCode"

_MAX_SIZE_TEXT = 4096
_MAX_CELLS = 0xFFFF

Status = dict[str, object]
SUCCESS: Status = {"metadata": {}, "status": "Success"}


def ended(code: int) -> Status:
    """The Status of a command that ran to its end."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": NON_ZERO,
        "details": {"causes": [{"reason": EXIT_CODE, "message": str(code)}]},
    }


def failed(why: str) -> Status:
    """The Status of a command that could not be run, or not to its end."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {why}",
        "reason": "InternalError",
        "details": {"causes": [{"message": why}]},
        "code": 500,
    }


def said(status: Status, version: int) -> bytes:
    """What goes over the error stream; b"" for nothing."""
    if version >= 4:
        return json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()
    return b"" if status["status"] == "Success" else str(status["message"]).encode()


def version_of(protocol: str) -> int:
    """Of one of SPDY_PROTOCOLS."""
    return 4 - SPDY_PROTOCOLS.index(protocol)


def resize_has_stream(version: int) -> bool:
    return version >= 3


class Sizes:
    """Reads terminal sizes from a stream of JSON objects, cut anywhere."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(width, height) of each whole object. Text that is none is dropped."""
        self._text += data.decode(errors="replace")
        while True:
            self._text = self._text.lstrip()
            try:
                value, end = self._decoder.raw_decode(self._text)
            except ValueError:
                if len(self._text) > _MAX_SIZE_TEXT or not self._text.startswith("{"):
                    self._text = ""
                return
            self._text = self._text[end:]
            if (size := _size(value)) is not None:
                yield size


def _size(value: object) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    found = value.get("Width", 0), value.get("Height", 0)
    for cells in found:
        if type(cells) is not int or not 0 < cells <= _MAX_CELLS:
            return None
    return found
