"""Whether a request goes through a proxy, as the environment says. Pure.

HTTPS_PROXY, HTTP_PROXY and NO_PROXY, also in lower case, with the meaning that Go programs give
them (golang.org/x/net/http/httpproxy), since that is what containerd's users write: NO_PROXY holds
names (with their subdomains), `.suffixes`, addresses, CIDRs, each with an optional port, or `*`.
The machine itself is never behind a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from edgeorch.registry import hosts

_PORTS = {"http": 80, "https": 443}


def choose(scheme: str, host: str, port: int | None, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL; None to go straight."""
    proxy = _value(f"{scheme}_proxy", environ)
    if not proxy or hosts.is_local(host):
        return None
    exempt = _value("no_proxy", environ).split(",")
    if any(
        _covers(entry.strip().lower(), host.lower(), port or _PORTS[scheme]) for entry in exempt
    ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _value(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _covers(entry: str, host: str, port: int) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    with_port = re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry)
    if with_port:
        entry = with_port[1]
        if int(with_port[2]) != port:
            return False
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        return ipaddress.ip_address(host.strip("[]")) in network
    except ValueError:
        pass
    name = entry.removeprefix("*")
    return (
        host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
    )
