"""Credentials in Docker's files, and which of them are for an image. Pure.

Matching is the kubelet's (pkg/credentialprovider/keyring.go): a key is a host with an optional
port and path; labels of the host may hold wildcards, the port must be the same, the path is a
prefix. All keys that fit are tried in turn, the most specific first.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Iterable
from typing import Any

from edgeorch.lib import json
from edgeorch.registry.auth import Credential

_HUB = "docker.io"
_HUB_HOSTS = frozenset({"index.docker.io", "registry-1.docker.io", _HUB})


def docker_config(raw: bytes) -> list[tuple[str, Credential]]:
    """Keys and credentials of a `.dockerconfigjson`, a `config.json` or a legacy `.dockercfg`.

    Entries that cannot be read are left out: one bad entry must not hide the others.
    """
    try:
        document = json.decode(raw)
    except json.DecodeError:
        return []
    if not isinstance(document, dict):
        return []
    entries = document.get("auths", document)
    if not isinstance(entries, dict):
        return []
    found = ((_key(name), _credential(entry)) for name, entry in entries.items())
    return [(name, credential) for name, credential in found if credential is not None]


class Keyring:
    def __init__(self, documents: Iterable[bytes]) -> None:
        self._keys: dict[str, list[Credential]] = {}
        for document in documents:
            for key, credential in docker_config(document):
                self._keys.setdefault(key, []).append(credential)

    def find(self, image: str) -> list[Credential]:
        """What to try for `image` (domain/path), in this order."""
        found: dict[Credential, None] = {}
        for key in sorted(self._keys, reverse=True):
            if matches(key, image):
                found |= dict.fromkeys(self._keys[key])
        return list(found)


def matches(key: str, image: str) -> bool:
    """`key` is `host[:port][/path]`, with wildcards in the host's labels; the path is a prefix."""
    host, _, path = key.partition("/")
    domain, _, rest = image.partition("/")
    if not rest.startswith(path):
        return False
    name, port = _split_port(host)
    wanted, wanted_port = _split_port(_HUB if domain in _HUB_HOSTS else domain)
    globs, labels = name.split("."), wanted.split(".")
    if port != wanted_port or len(globs) != len(labels):
        return False
    return all(fnmatch.fnmatchcase(label, glob) for label, glob in zip(labels, globs, strict=True))


def _split_port(host: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*?)(?::(\d+))?", host)
    return (found[1], found[2] or "") if found else (host, "")


def _key(name: str) -> str:
    """`https://index.docker.io/v1/` and its like, as `docker.io`."""
    bare = re.sub(r"^https?://", "", name)
    host, _, path = bare.partition("/")
    path = re.sub(r"^v[12](/|$)", "", path).rstrip("/")
    host = _HUB if host in _HUB_HOSTS else host
    return f"{host}/{path}" if path else host


def _credential(entry: Any) -> Credential | None:
    if not isinstance(entry, dict):
        return None
    username, password = _pair(entry)
    identity = str(entry.get("identitytoken") or "")
    registry = str(entry.get("registrytoken") or "")
    if not (identity or registry or (username and password)):
        return None
    return Credential(username, password, identity, registry)


def _pair(entry: dict[str, Any]) -> tuple[str, str]:
    """User name and password; `auth` wins, as in the kubelet."""
    try:
        joined = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        joined = ""
    name, separator, secret = joined.partition(":")
    if separator:
        return name, secret.rstrip("\0")
    return str(entry.get("username") or ""), str(entry.get("password") or "")
