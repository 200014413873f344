"""Whether a URL can be reached from the device: what a bundle may ask for after a change."""

from __future__ import annotations

import urllib.parse

from edgeorch.probes import http

LIMIT = 10.0
"""Seconds."""
_PORTS = {"http": 80, "https": 443}


async def tried(url: str) -> str:
    """What went wrong with a GET, "" for an answer that is a success or a redirect."""
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    request = http.Request(
        parts.scheme,
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        path,
        (("Host", parts.netloc),),
        agent="edgeorch",
    )
    try:
        succeeded, told = await http.probe(request, LIMIT)
    except http.BodyError as error:
        return str(error)
    return "" if succeeded else told
