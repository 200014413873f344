"""How many requests are served at once, before clients are asked to come back (429).

So that one client does not take the device from all others: each has a share, and some room is the
administrators' alone, as Kubernetes exempts system:masters from priority and fairness.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from edgeorch.api import statuses
from edgeorch.core import roles
from edgeorch.lib import metrics

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
        self.refused = metrics.Counter(
            "edgeorch_api_requests_refused_total",
            "Requests that were asked to come back later, by what there was too much of: requests "
            "of all clients, of this one, or watches and streams.",
            ("limit",),
        )

    @contextlib.contextmanager
    def hold(self, call: Call) -> Iterator[None]:
        """Raises StatusError (429)."""
        limits, login = self._limits, call.login.name
        most = limits.requests - (0 if is_exempt(call) else limits.reserved)
        if self.in_flight >= most:
            self._refuse("requests")
        if not is_exempt(call) and self._by_login[login] >= limits.per_client:
            self._refuse("client")
        self.in_flight += 1
        self._by_login[login] += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._by_login[login] -= 1
            if not self._by_login[login]:
                del self._by_login[login]

    def _refuse(self, limit: str) -> NoReturn:
        self.refused.add(limit)
        raise statuses.too_many_requests(_TOO_MANY)


def is_exempt(call: Call) -> bool:
    return any(group in _EXEMPT for group in call.login.groups)
