"""Image references: the grammar of the distribution project and Docker's defaults.

`[domain/]path[:tag][@digest]`. A name without a domain is on docker.io, one without a namespace in
`library/`, one without tag and digest has the tag `latest`. A first part is a domain when it holds
a dot or a colon, is `localhost`, or is not lower case. The errors read as the kubelet's do, since
they end up in a container's `InvalidImageName`.

Source: github.com/distribution/reference (grammar), kubelet images.applyDefaultImageTag.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

DEFAULT_DOMAIN = "docker.io"
LEGACY_DOMAIN = "index.docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_DOMAIN = rf"{_HOST}(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_ID = re.compile(r"[a-f0-9]{64}")
_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+")


class InvalidReference(ValueError):
    """`reason` is the bare grammar error, `str()` the kubelet's sentence around it."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f'couldn\'t parse image reference "{text}": {reason}')
        self.reason = reason


class Reference(Struct, frozen=True):
    """A normalised reference. `path` holds `library/` where it was left out."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    def familiar(self) -> str:
        """As people write it: Docker's defaults left out."""
        if self.domain != DEFAULT_DOMAIN:
            return self._suffixed(self.name)
        return self._suffixed(self.path.removeprefix("library/"))

    def without_tag(self) -> Reference:
        return replace(self, tag="")

    def __str__(self) -> str:
        return self._suffixed(self.name)

    def _suffixed(self, name: str) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{name}{tag}{digest}"


def parse(text: str) -> Reference:
    """The reference as written, with domain and `library/` filled in but no tag added."""
    if _ID.fullmatch(text):
        raise InvalidReference(
            text,
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings",
        )
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidReference(
            text, f"invalid reference format: repository name ({remote}) must be lowercase"
        )
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None or not match["name"].startswith(f"{domain}/"):
        raise InvalidReference(text, "invalid reference format")
    name = match["name"]
    path = name[len(domain) + 1 :]
    if len(path) > NAME_LIMIT:
        raise InvalidReference(
            text, f"repository name must not be more than {NAME_LIMIT} characters"
        )
    digest = match["digest"] or ""
    _check_digest(text, digest)
    return Reference(domain, path, match["tag"] or "", digest)


def normalise(text: str) -> Reference:
    """The name an image is stored under: `latest` added where there is neither tag nor digest,

    and the tag dropped where there is a digest, which alone then decides.
    """
    reference = parse(text)
    if reference.digest:
        return reference.without_tag()
    if reference.tag:
        return reference
    return replace(reference, tag=DEFAULT_TAG)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = any(char in first for char in ".:") or first == "localhost"
    if not slash or not (is_domain or first.lower() != first):
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = first
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return domain, rest


def _check_digest(text: str, digest: str) -> None:
    if not digest:
        return
    algorithm, _, value = digest.partition(":")
    length = _HEX_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidReference(text, "unsupported digest algorithm")
    if len(value) != length:
        raise InvalidReference(text, "invalid checksum digest length")
    if not _HEX.fullmatch(value):
        raise InvalidReference(text, "invalid checksum digest format")
