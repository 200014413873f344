"""The administrator's kubeconfig: all that kubectl and helm need, in one file of root's."""

from __future__ import annotations

import base64
import urllib.parse
from typing import TYPE_CHECKING

from edgeorch.lib import files, json

if TYPE_CHECKING:
    import pathlib

NAME = "edgeorch"


def render(server: str, authority: bytes, token: str) -> bytes:
    """`server` is a URL, `authority` the CA in PEM. JSON is YAML, so kubectl reads it as it is."""
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": NAME,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority).decode(),
                },
            }
        ],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [
            {"name": NAME, "context": {"cluster": NAME, "user": "admin", "namespace": "default"}}
        ],
        "current-context": NAME,
    }
    return json.pretty(json.encode(body)) + b"\n"


def rewritten(body: str, user: str | None, credential: dict[str, str], server: str | None) -> str:
    """Another's kubeconfig of the same device: `credential` are fields of a kubeconfig's user.
    Raises ValueError."""
    config = json.decode(body)
    try:
        if server:
            config["clusters"][0]["cluster"]["server"] = server
        if user is not None:
            config["users"] = [{"name": user, "user": credential}]
            config["contexts"][0]["context"]["user"] = user
    except LookupError as error:
        raise ValueError(f"it lacks {error}") from error
    except TypeError as error:
        raise ValueError("it is none") from error
    return json.pretty(json.encode(config)).decode() + "\n"


def is_server(url: str) -> bool:
    """Whether a client can use it as the address of a device."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    clean = url.isprintable() and " " not in url and "@" not in parts.netloc
    return clean and parts.scheme == "https" and bool(parts.hostname) and port != 0


def write(path: pathlib.Path, server: str, authority: bytes, token: str) -> None:
    """Nothing is written when the file says so already. Raises OSError."""
    body = render(server, authority, token)
    try:
        if path.read_bytes() == body and path.stat().st_mode & 0o777 == 0o600:
            return
    except FileNotFoundError:
        pass
    files.write_atomically(path, body, mode=0o600)
