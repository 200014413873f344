"""Answers that do not end by themselves: watches, followed logs.

`LongRunning` counts and limits them, and ends them all at once, cleanly, when the server closes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from edgeorch.api import flow, statuses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from edgeorch.api.call import Call

T = TypeVar("T")


class Deadline:
    """Until when one answer may go on; may be drawn near at any time."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + seconds
        self._timer: asyncio.Timeout | None = None

    @property
    def passed(self) -> bool:
        return self._loop.time() >= self._end

    def end(self) -> None:
        self._end = self._loop.time()
        if self._timer is not None:
            self._timer.reschedule(self._end)

    async def within(self, work: Awaitable[T], seconds: float | None = None) -> T | None:
        """The result of `work`, or None when the deadline, or `seconds`, came first."""
        end = self._end if seconds is None else min(self._end, self._loop.time() + seconds)
        timer = self._timer = asyncio.timeout_at(end)
        try:
            async with timer:
                return await work
        except TimeoutError:
            if not timer.expired():
                raise
            return None
        finally:
            self._timer = None


class LongRunning:
    """`per_client` is the share of one login; administrators are only bound by `limit`. `began`
    hears of each, `refused` is called where one is not let in."""

    def __init__(
        self,
        limit: int,
        per_client: int,
        began: Callable[[Call], None] = lambda _: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._limit = limit
        self._per_client = per_client
        self._began = began
        self._refused = refused
        self._running: dict[Deadline, tuple[str, str]] = {}
        self._logins: dict[Deadline, str] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def by_kind(self) -> dict[tuple[str, str], int]:
        """How many of each (verb, resource)."""
        found: dict[tuple[str, str], int] = {}
        for labels in self._running.values():
            found[labels] = found.get(labels, 0) + 1
        return found

    @contextlib.contextmanager
    def hold(self, call: Call, seconds: float) -> Iterator[Deadline]:
        """Raises StatusError (429) when there are too many."""
        own = sum(login == call.login.name for login in self._logins.values())
        share_taken = own >= self._per_client and not flow.is_exempt(call)
        if len(self._running) >= self._limit or share_taken:
            self._refused()
            raise statuses.too_many_requests("too many watches and followed logs at once")
        deadline = Deadline(0.0 if self._closed else seconds)
        resource = call.target.kind.resource if call.target else ""
        self._running[deadline] = (call.verb, resource)
        self._logins[deadline] = call.login.name
        self._began(call)
        try:
            yield deadline
        finally:
            del self._running[deadline]
            del self._logins[deadline]

    def end_of(self, logins: set[str]) -> None:
        """End what runs for them."""
        for deadline, login in self._logins.items():
            if login in logins:
                deadline.end()

    def close(self) -> None:
        """End all that run; what comes later ends at once."""
        self._closed = True
        for deadline in self._running:
            deadline.end()
