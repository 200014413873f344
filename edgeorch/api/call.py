"""One request on its way through the API: who asks what, and what they must be warned of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.model import errors

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from aiohttp import web

    from edgeorch.api import auth, paths

_MAX_WARNINGS_BYTES = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


def _nobody() -> auth.User:
    from edgeorch.api.auth import ANONYMOUS

    return ANONYMOUS


class Call(Struct):
    """`query` holds the first value of each parameter; `warnings` become Warning headers."""

    request: web.BaseRequest
    user: auth.User
    parts: list[str]
    query: Mapping[str, str]
    audit_id: str
    target: paths.Target | None = None
    verb: str = ""
    login: auth.User = field(default_factory=_nobody)
    """Who has come in, also where they act as somebody else."""
    big_bodies: asyncio.Semaphore | None = None
    """Bounds how many big bodies are being read."""
    named: str = ""
    """What the object of a create is called, once that is known."""
    dry_run: bool | None = None
    """As its options say; None until they have been read."""
    told: bool = False
    """Whether the log has its line on this request."""
    warnings: list[str] = field(default_factory=list)

    def flag(self, name: str) -> bool:
        """A boolean as Kubernetes reads it: present and not "false" or "0"."""
        value = self.query.get(name)
        return value is not None and value.lower() not in ("false", "0")

    def integer(self, name: str) -> int | None:
        """Raises StatusError (400)."""
        text = self.query.get(name, "")
        if not text:
            return None
        if not _INTEGER.fullmatch(text):
            raise errors.bad_request(
                f'invalid value for {name}: strconv.ParseInt: parsing "{text}": invalid syntax'
            )
        return int(text)

    def header(self, name: str) -> str:
        """All lines of a header, joined; "" when there is none."""
        return ", ".join(self.request.headers.getall(name, ()))

    @property
    def path(self) -> str:
        return "/" + "/".join(self.parts)

    @property
    def asks_for_socket(self) -> bool:
        """Whether the client wants to go on with a WebSocket."""
        upgrades = "upgrade" in self.header("Connection").lower()
        return upgrades and self.header("Upgrade").lower() == "websocket"

    @property
    def pretty(self) -> bool:
        if "pretty" in self.query:
            return self.flag("pretty")
        return self.header("User-Agent").startswith(_BROWSERS)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def warning_headers(self) -> list[str]:
        """`299 - "text"`, together no longer than clients and proxies take."""
        found: list[str] = []
        room = _MAX_WARNINGS_BYTES
        for text in self.warnings:
            clean = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
            value = f'299 - "{clean}"'
            room -= len(value.encode())
            if room < 0:
                break
            found.append(value)
        return found
