"""Why a container ended: out of memory or not, and the message it left.

Reads what is still there at that moment: the cgroup's count of OOM kills, the termination message
file, and where the policy asks for it the end of the log.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgeorch.core import container_labels
from edgeorch.wire import cri_log

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.core.observed import Container
    from edgeorch.model import views

MAX_MESSAGE = 4096
_MAX_LOG_MESSAGE = 2048
_MAX_LOG_LINES = 80
_CGROUP = pathlib.Path("/sys/fs/cgroup")


class Endings:
    def __init__(
        self,
        message_path: Callable[[str, Container], pathlib.Path],
        log_path: Callable[[str, Container], pathlib.Path],
        spec_of: Callable[[str, str], views.Container | None],
        output: ports.Output,
    ) -> None:
        """`spec_of(uid, name)` is the container's spec while its pod is in the store."""
        self._message_path = message_path
        self._log_path = log_path
        self._spec_of = spec_of
        self._output = output

    async def describe(
        self, uid: str, container: Container, code: int, labels: Mapping[str, str], *, oom: bool
    ) -> tuple[str, str]:
        """Reason and message."""
        spec = self._spec_of(uid, container.name)
        fallback = spec is not None and (
            spec.termination_message_policy == "FallbackToLogsOnError" and code != 0
        )
        if fallback:
            await self._output.finish(container.id)
        cgroup = labels.get(container_labels.CGROUP, "")
        killed, message = await asyncio.to_thread(
            self._read, uid, container, cgroup if code != 0 else "", fallback
        )
        # Also where a child was killed and the first process ended by itself, as containerd's CRI.
        if oom or killed:
            return "OOMKilled", message
        return "Error" if code else "Completed", message

    def _read(
        self, uid: str, container: Container, cgroup: str, fallback: bool
    ) -> tuple[bool, str]:
        message = _head(self._message_path(uid, container))
        if not message and fallback:
            message = _log_tail(self._log_path(uid, container))
        return bool(cgroup) and _oom_kills(cgroup) > 0, message


def _head(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_MESSAGE).decode("utf-8", "replace")
    except OSError:
        return ""


def _log_tail(path: pathlib.Path) -> str:
    """The last lines of a CRI log, without their stamps; one cut short gets no newline."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 2 * _MAX_LOG_MESSAGE - 4096))
            lines = file.read().split(b"\n")[:-1][-_MAX_LOG_LINES:]
    except OSError:
        return ""
    entries = [entry for entry in map(cri_log.parse, lines) if entry is not None]
    text = b"".join(entry.text + (b"" if entry.partial else b"\n") for entry in entries)
    return text[-_MAX_LOG_MESSAGE:].decode("utf-8", "replace")


def _oom_kills(cgroup: str) -> int:
    relative = cgroup.lstrip("/")
    for path in (
        _CGROUP / relative / "memory.events",
        _CGROUP / "memory" / relative / "memory.oom_control",
    ):
        try:
            text = path.read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
