"""Which hosts serve a registry's images, in the order in which they are asked. Pure.

Mirrors first, as configured, and the registry itself last. Plain HTTP is for the machine itself,
as Docker has it, and for whom the configuration says so. A mirror is told whose image is meant by
`?ns=`, as containerd does. Shape after containerd's hosts.toml.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from msgspec import Struct

from edgeorch.config import RegistryConfig
from edgeorch.registry.auth import Credential

ANY = "*"
_HUB = "registry-1.docker.io"
_NONE = RegistryConfig()


class Host(Struct, frozen=True):
    base: str
    """URL up to and with `/v2`, and what a mirror puts behind it."""
    name: str
    """`host[:port]`, as credentials name it."""
    mirror_of: str = ""
    """The registry it stands for; "" for that registry itself."""
    ca: str = ""
    """File of the authority that signed its certificate; "" for the public ones."""
    verify: bool = True
    credential: Credential | None = None

    @property
    def secure(self) -> bool:
        return self.base.startswith("https:")


def serving(domain: str, registries: Mapping[str, RegistryConfig]) -> list[Host]:
    """Whom to ask for images of `domain`."""
    own = registries.get(domain) or registries.get(ANY) or _NONE
    mirrors = [_mirror(text, domain, registries) for text in own.mirrors]
    return [*mirrors, _origin(domain, registries)]


def _origin(domain: str, registries: Mapping[str, RegistryConfig]) -> Host:
    address = _HUB if domain == "docker.io" else domain
    settings = registries.get(domain, _NONE)
    return _host(f"{_scheme(address, settings)}://{address}/v2", domain, settings)


def _mirror(text: str, domain: str, registries: Mapping[str, RegistryConfig]) -> Host:
    scheme, _, rest = text.rpartition("://")
    address, _, path = rest.rstrip("/").partition("/")
    settings = registries.get(address, _NONE)
    # A path that names the version is taken as it is: Harbor wants its project behind it.
    whole = f"/{path}" if re.match(r"v2(/|$)", path) else f"/{path}/v2" if path else "/v2"
    base = f"{scheme or _scheme(address, settings)}://{address}{whole}"
    return _host(base, address, settings, domain)


def _host(base: str, name: str, settings: RegistryConfig, mirror_of: str = "") -> Host:
    credential = None
    if settings.username or settings.identity_token:
        credential = Credential(settings.username, settings.password, settings.identity_token)
    return Host(base, name, mirror_of, settings.ca, not settings.insecure_skip_verify, credential)


def _scheme(address: str, settings: RegistryConfig) -> str:
    return "http" if settings.plain_http or is_local(address) else "https"


def is_local(address: str) -> bool:
    """Whether `host[:port]` is this machine."""
    name = re.sub(r":\d+$", "", address).strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
