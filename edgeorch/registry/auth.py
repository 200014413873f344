"""Who we are to a registry: credentials, and what a challenge asks for. Pure.

Sources: RFC 9110 section 11.6.1 (WWW-Authenticate), distribution's token specification
(docs/spec/auth/token, docs/spec/auth/oauth).
"""

from __future__ import annotations

import base64
import re

from msgspec import Struct

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SCHEMES = re.compile(r"(?i)(?:^|,)\s*(bearer|basic)(?=\s|$)")


class Credential(Struct, frozen=True):
    """A name and its password, or a token that stands for both."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """A refresh token, exchanged at the token service."""
    registry_token: str = ""
    """A bearer token, shown to the registry as it is."""

    def __repr__(self) -> str:
        """What may stand in a log."""
        return f"Credential(username={self.username!r})"

    def basic(self) -> str:
        """The value of an Authorization header."""
        joined = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(joined).decode()


class Challenge(Struct, frozen=True):
    scheme: str
    """In lower case: `bearer` or `basic`."""
    parameters: dict[str, str]


def challenge(header: str) -> Challenge | None:
    """What a 401 asks for, Bearer where there is a choice; None when nothing that is understood."""
    found = [
        Challenge(match[1].lower(), _parameters(header[match.end() :]))
        for match in _SCHEMES.finditer(header)
    ]
    found.sort(key=lambda each: each.scheme != "bearer")
    return found[0] if found else None


def _parameters(text: str) -> dict[str, str]:
    end = _SCHEMES.search(text)
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(text[: end.start()] if end else text)
    }
