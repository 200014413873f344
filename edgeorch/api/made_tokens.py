"""Tokens that the administrator has made: `edgeorch token`, and the service that takes them.

One file, which the command line replaces and the running service hears of (inotify), so that both
work without the other, and a change counts at once. It holds digests only. Whose token is gone,
their watches and streams end too.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from edgeorch.api import auth
from edgeorch.core import credentials, roles
from edgeorch.lib import files, inotify, json

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from edgeorch.core.credentials import Moment, Token

log = logging.getLogger(__name__)

DIRECTORY = "access"
"""Below the data directory: of its own, because of every change in it the service hears."""
_FILE, _LOCK = "tokens.json", "lock"
_PREFIX = "edgeorch_"
"""So that who finds one knows what it is; and none looks like an option to a command."""
_MASK = inotify.MOVED_TO | inotify.CLOSE_WRITE | inotify.DELETE


class TokensError(Exception):
    """The text is for the administrator."""


class _Held(msgspec.Struct, frozen=True):
    tokens: list[credentials.Token]


def read(directory: pathlib.Path) -> list[Token]:
    """Raises TokensError."""
    path = directory / _FILE
    try:
        return json.convert(json.decode(path.read_bytes()), _Held).tokens
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TokensError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TokensError(f"cannot use {path}: {error}") from error


def create(directory: pathlib.Path, name: str, role: str, seconds: int | None, now: Moment) -> str:
    """The new token, which is told this once. Raises TokensError."""
    if why := credentials.name_error(name) or credentials.role_error(role):
        raise TokensError(why)
    token = _PREFIX + secrets.token_urlsafe(32)
    made = credentials.Token(
        name=name,
        role=role,
        digest=hashlib.sha256(token.encode()).hexdigest(),
        created=now.wall,
        expires=None if seconds is None else now.wall + datetime.timedelta(seconds=seconds),
        boot="" if seconds is None else now.boot,
        until=0.0 if seconds is None else now.uptime + seconds,
    )
    with _changing(directory) as tokens:
        if any(each.name == name for each in tokens):
            raise TokensError(f"there is a token {name} already: revoke it, or take another name")
        tokens.append(made)
    return token


def revoke(directory: pathlib.Path, names: list[str]) -> None:
    """All or, with a TokensError, none."""
    with _changing(directory) as tokens:
        known = {each.name for each in tokens}
        if missing := [name for name in names if name not in known]:
            raise TokensError(f"there is no token {', '.join(missing)}")
        tokens[:] = [each for each in tokens if each.name not in names]


@contextlib.contextmanager
def _changing(directory: pathlib.Path) -> Iterator[list[Token]]:
    """The tokens, written down when the block has changed them; one at a time."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)
        lock = os.open(directory / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = read(directory)
            yield tokens
            body = json.pretty(json.encode(_Held(tokens)))
            files.write_atomically(directory / _FILE, body, mode=0o600)
        finally:
            os.close(lock)
    except OSError as error:
        raise TokensError(f"cannot change {directory / _FILE}: {error.strerror}") from error


class MadeTokens:
    """What the service knows of them."""

    def __init__(self, directory: pathlib.Path, now: Callable[[], Moment]) -> None:
        self._directory = directory
        self._now = now
        self._tokens: dict[bytes, Token] = {}

    def load(self) -> list[str]:
        """Take the file as it is now; the names of those that are no longer in it.

        A file that cannot be read opens nothing.
        """
        before, self._tokens = self._tokens, {}
        try:
            self._tokens = {bytes.fromhex(each.digest): each for each in read(self._directory)}
        except (TokensError, ValueError) as error:
            log.error("no token made with `edgeorch token` is good: %s", error)
        return [each.name for digest, each in before.items() if digest not in self._tokens]

    def find(self, digest: bytes) -> auth.User | None:
        """Whose token it is; None for one that is unknown or over. Always looks at all of them."""
        found = None
        for known, token in self._tokens.items():
            if hmac.compare_digest(known, digest):
                found = token
        if found is None or credentials.is_over(found.life(), self._now()):
            return None
        return auth.User(found.name, (roles.group(found.role), roles.AUTHENTICATED))

    async def follow(self, ended: Callable[[set[str]], None]) -> None:
        """For ever: load the file whenever it changes; `ended` hears whose tokens are gone."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = inotify.Directory(self._directory, _MASK)
        except OSError as error:
            log.error("changes of tokens will count from the next start on: %s", error)
            await asyncio.Event().wait()
            return
        try:
            while True:
                folder.changed.clear()
                if gone := self.load():
                    log.info("tokens revoked: %s", ", ".join(gone))
                    ended(set(gone))
                await folder.changed.wait()
        finally:
            folder.close()
