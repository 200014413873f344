"""Who we are to a registry: challenges, and credentials in Docker's forms.

Sources: RFC 9110 section 11.6.1 (WWW-Authenticate), distribution's token specification
(docs/spec/auth/token), and kubelet's credential look-up (longest matching registry path wins).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from edgeorch.lib import json

_DOCKER_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credential:
    username: str
    password: str

    def basic(self) -> str:
        """The value of an Authorization header."""
        joined = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(joined).decode()


@dataclass(frozen=True, slots=True)
class Challenge:
    scheme: str
    """In lower case: `bearer` or `basic`."""
    parameters: dict[str, str]


def challenge(header: str) -> Challenge | None:
    """What a 401 asks for; None when nothing that is understood."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() not in ("bearer", "basic"):
        return None
    parameters = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(rest)
    }
    return Challenge(scheme.lower(), parameters)


def docker_config(raw: bytes) -> dict[str, Credential]:
    """Registry (and path) to credential, from a `.dockerconfigjson` or a legacy `.dockercfg`.

    Entries that cannot be read are left out: one bad entry must not hide the others.
    """
    try:
        document = json.decode(raw)
    except json.DecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    entries = document.get("auths", document)
    if not isinstance(entries, dict):
        return {}
    found = {_registry(name): _credential(entry) for name, entry in entries.items()}
    return {name: credential for name, credential in found.items() if credential is not None}


def credential_for(image: str, known: dict[str, Credential]) -> Credential | None:
    """The credential whose registry or path is the longest prefix of `image` (domain/path)."""
    domain, _, path = image.partition("/")
    candidates = [f"{domain}/{path}"]
    if domain in _DOCKER_HUB:
        candidates = [f"docker.io/{path}"]
    fitting = [
        name for name in known for image_path in candidates
        if image_path == name or image_path.startswith(name + "/")
    ]  # fmt: skip
    return known[max(fitting, key=len)] if fitting else None


def _registry(name: str) -> str:
    """`https://index.docker.io/v1/` and its like, as `docker.io`."""
    bare = re.sub(r"^https?://", "", name).rstrip("/")
    host, _, path = bare.partition("/")
    path = re.sub(r"^v[12](/|$)", "", path)
    host = "docker.io" if host in _DOCKER_HUB else host
    return f"{host}/{path}" if path else host


def _credential(entry: Any) -> Credential | None:
    if not isinstance(entry, dict):
        return None
    username, password = entry.get("username"), entry.get("password")
    if username and password:
        return Credential(str(username), str(password))
    try:
        joined = base64.b64decode(str(entry.get("auth", "")), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, separator, secret = joined.partition(":")
    return Credential(name, secret.rstrip("\0")) if separator else None
