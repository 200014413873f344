"""How many requests are served at once, before clients are asked to come back (429).

So that one client does not take the device from all others: each has a share, and some room is the
administrators' alone, as Kubernetes exempts system:masters from priority and fairness.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.api import statuses
from edgeorch.core import roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeorch.api.call import Call

_TOO_MANY = "The server has received too many requests and has asked us to try again later"
_EXEMPT = (roles.MASTERS, roles.group(roles.ADMIN))


class Limits(Struct, frozen=True):
    """Requests at once; `per_client` and `reserved` do not concern administrators, who have the
    reserved ones to themselves. `long_running`: watches, followed logs and streams."""

    requests: int = 100
    per_client: int = 40
    reserved: int = 20
    long_running: int = 200
    long_per_client: int = 100


class Flow:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_login: Counter[str] = Counter()
        self.in_flight = 0

    @contextlib.contextmanager
    def hold(self, call: Call) -> Iterator[None]:
        """Raises StatusError (429)."""
        limits, login = self._limits, call.login.name
        if is_exempt(call):
            full = self.in_flight >= limits.requests
        else:
            full = (
                self.in_flight >= limits.requests - limits.reserved
                or self._by_login[login] >= limits.per_client
            )
        if full:
            raise statuses.too_many_requests(_TOO_MANY)
        self.in_flight += 1
        self._by_login[login] += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._by_login[login] -= 1
            if not self._by_login[login]:
                del self._by_login[login]


def is_exempt(call: Call) -> bool:
    return any(group in _EXEMPT for group in call.login.groups)
