"""What the API needs from the rest of the house: declared here, given by app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Callable

    from edgeorch.api import auth

    Check = Callable[[], str | None]
    """A health check: None when all is well, else the reason."""


class LogReader(Protocol):
    """Output of containers. PodLogOptions, already checked against the pod."""

    def read(
        self,
        namespace: str,
        pod: str,
        uid: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        since_seconds: int | None = None,
        since_time: datetime.datetime | None = None,
        timestamps: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The lines as they are written. Raises StatusError before the first chunk."""


class Authorizer(Protocol):
    def authorize(
        self, user: auth.User, verb: str, resource: str, namespace: str, name: str
    ) -> None:
        """Raises StatusError (403). `resource` is `plural.group`, or a path for non-resources."""
