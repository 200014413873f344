"""Who is asking: bearer tokens, client certificates, and a brake on guessing.

Tokens are kept as SHA-256 only and compared in constant time. A token file has Kubernetes' static
token format: `token,user,uid[,"group,group"]`, one a line. Addresses that keep failing have to
wait; a client whose token has been right from there before is not held up by its neighbours.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import logging
import math
import secrets
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.api import statuses
from edgeorch.core import roles
from edgeorch.lib import clock as clocks
from edgeorch.lib import files
from edgeorch.model import errors

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping, Sequence

    from edgeorch.api import made_tokens as tokens_made
    from edgeorch.api import service_tokens as tokens_of_services

MASTERS = roles.MASTERS
AUTHENTICATED, UNAUTHENTICATED = roles.AUTHENTICATED, roles.UNAUTHENTICATED

_BURST = 20.0
_REFILL = 1.0
"""Failed attempts a second that one address may make in the long run."""
_MAX_ADDRESSES = 1024
_TELL_EVERY = 60.0

log = logging.getLogger(__name__)


class TokenFileError(OSError):
    """The token file cannot be used."""


class User(Struct, frozen=True):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ADMIN = User("system:admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


class _Attempts(Struct):
    left: float
    seen: float
    told: float = -math.inf
    """When the log last heard of it."""


class Authenticator:
    """`tokens` maps a token's digest to its user."""

    def __init__(
        self,
        tokens: Mapping[bytes, User],
        clock: clocks.Clock,
        service_tokens: tokens_of_services.ServiceTokens | None = None,
        made_tokens: tokens_made.MadeTokens | None = None,
        synchronized: Callable[[], bool] = clocks.is_synchronized,
    ) -> None:
        self.service_tokens = service_tokens
        self._made = made_tokens
        self.synchronized = synchronized
        self._tokens = dict(tokens)
        self._clock = clock
        self._failures: OrderedDict[str, _Attempts] = OrderedDict()
        self._proven: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def replace(self, tokens: Mapping[bytes, User]) -> None:
        """New tokens from now on; what is not among them no longer opens anything."""
        self._tokens = dict(tokens)

    def identify(
        self, authorization: str, certificate: Mapping[str, object] | None, address: str
    ) -> User | None:
        """The user, or None for a request without credentials. Raises StatusError (401, 429)."""
        if authorization:
            return self._by_token(authorization, address)
        return self._by_certificate(certificate) if certificate else None

    def _by_certificate(self, certificate: Mapping[str, object]) -> User | None:
        """Verified by the handshake, all but its dates. It is over only by a clock that somebody
        keeps in step; when it began is no matter."""
        ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        if ends < self._clock.now().timestamp() and self.synchronized():
            raise errors.unauthorized()
        return from_certificate(certificate)

    def _by_token(self, authorization: str, address: str) -> User:
        scheme, _, token = authorization.partition(" ")
        digest = fingerprint(token.strip())
        if (address, digest) not in self._proven:
            self._brake(address)
        user = None
        if scheme.lower() == "bearer" and token.strip():
            user = self._find(digest) or self._of_service(token.strip())
        if user is None:
            self._proven.pop((address, digest), None)
            self._failed(address)
            raise errors.unauthorized()
        self._proven[address, digest] = None
        self._proven.move_to_end((address, digest))
        _trim(self._proven)
        return user

    def _of_service(self, token: str) -> User | None:
        return self.service_tokens.identify(token) if self.service_tokens else None

    def review(self, token: str, audiences: Sequence[str]) -> tuple[User | None, list[str]]:
        """For TokenReview: whose token it is, and for which of the audiences it is good."""
        user = self._find(fingerprint(token)) if token else None
        if user is not None or self.service_tokens is None:
            return user, list(audiences)
        user = self.service_tokens.identify(token, audiences)
        held = self.service_tokens.audiences(token) if user else []
        return user, [each for each in held if each in audiences]

    def _find(self, digest: bytes) -> User | None:
        found = None
        for known, user in self._tokens.items():
            if hmac.compare_digest(known, digest):
                found = user
        return found or (self._made.find(digest) if self._made else None)

    def _brake(self, address: str) -> None:
        attempts = self._failures.get(address)
        if attempts is None:
            return
        now = self._clock.monotonic()
        attempts.left = min(_BURST, attempts.left + (now - attempts.seen) * _REFILL)
        attempts.seen = now
        if attempts.left < 1:
            raise statuses.too_many_requests("too many failed attempts to authenticate")

    def _failed(self, address: str) -> None:
        attempts = self._failures.setdefault(address, _Attempts(_BURST, self._clock.monotonic()))
        attempts.left -= 1
        if attempts.left < 1 and attempts.seen - attempts.told > _TELL_EVERY:
            attempts.told = attempts.seen
            log.warning("%s keeps failing to authenticate and has to wait", address)
        self._failures.move_to_end(address)
        _trim(self._failures)


def _trim(held: OrderedDict[Any, Any]) -> None:
    if len(held) > _MAX_ADDRESSES:
        held.popitem(last=False)


def fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def from_certificate(certificate: Mapping[str, object]) -> User | None:
    """CN is the user, O are the groups (`ssl.SSLSocket.getpeercert`); verified by the handshake."""
    name, groups = "", []
    subject = certificate.get("subject")
    for entry in subject if isinstance(subject, tuple) else ():
        for key, value in entry:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, AUTHENTICATED)) if name else None


def parse_tokens(text: str) -> dict[bytes, User]:
    """Raises TokenFileError naming the line."""
    found: dict[bytes, User] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        fields = [field.strip() for field in row]
        if not any(fields) or fields[0].startswith("#"):
            continue
        if len(fields) < 3 or not fields[0] or not fields[1]:
            raise TokenFileError(f"line {number}: expected token,user,uid[,groups]")
        groups = [group.strip() for group in ",".join(fields[3:]).split(",") if group.strip()]
        user = User(fields[1], (*groups, AUTHENTICATED), fields[2])
        if fingerprint(fields[0]) in found:
            raise TokenFileError(f"line {number}: this token is there already")
        found[fingerprint(fields[0])] = user
    return found


def load_tokens(path: pathlib.Path) -> dict[bytes, User]:
    """Raises TokenFileError."""
    try:
        return parse_tokens(path.read_text())
    except TokenFileError as error:
        raise TokenFileError(f"cannot use {path}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TokenFileError(f"cannot read {path}: {error}") from error


def ensure_admin_token(path: pathlib.Path) -> str:
    """The administrator's token, made at the first start. The file is readable by root only.

    One that is no text any more is set aside: a damaged medium must not keep the device away.
    """
    held = ""
    try:
        held = path.read_text()
        if "\0" in held:
            raise ValueError("it has a NUL")
        for row in csv.reader(held.splitlines()):
            if len(row) >= 3 and row[1].strip() == ADMIN.name and row[0].strip():
                return row[0].strip()
    except FileNotFoundError:
        pass
    except (ValueError, csv.Error) as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        told = "%s is no text (%s): it is %s now, and the administrator's token is new"
        log.error(told, path, error, aside)
        held = ""
    if held and not held.endswith("\n"):
        held += "\n"
    token = secrets.token_urlsafe(32)
    line = f"{token},{ADMIN.name},{ADMIN.name},{MASTERS}\n"
    files.write_atomically(path, (held + line).encode(), mode=0o600)
    return token
