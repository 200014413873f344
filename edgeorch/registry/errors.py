"""What talking to a registry ends in when it fails; the texts go into events."""

from __future__ import annotations


class RegistryError(Exception):
    """The registry said no, or cannot be reached."""


class NotFound(RegistryError):
    """The registry has no such manifest or blob."""


class Unreachable(RegistryError):
    """Nobody answered: no link, no name, no listener, or silence."""


class Denied(RegistryError):
    """The registry wants other credentials."""


class Busy(RegistryError):
    """The registry wants to be asked later (429, 5xx). `after` is in seconds, 0 when not said."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after
