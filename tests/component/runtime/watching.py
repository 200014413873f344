"""Waiting for what a test caused: events and conditions, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from edgeorch.runtime import errors, events

E = TypeVar("E")
DEADLINE = 20.0


class Watch:
    def __init__(self) -> None:
        self._seen: list[events.Event] = []
        self._more = asyncio.Condition()
        self.failure: Exception | None = None

    async def follow(self, source: events.Events) -> None:
        try:
            async with contextlib.aclosing(source.subscribe()) as stream:
                async for event in stream:
                    async with self._more:
                        self._seen.append(event)
                        self._more.notify_all()
        except errors.EventsLost as error:
            self.failure = error
            async with self._more:
                self._more.notify_all()

    async def seen(self, kind: type[E], match: Callable[[E], bool] = lambda _: True) -> E:
        def find() -> E | None:
            return next((e for e in self._seen if isinstance(e, kind) and match(e)), None)

        async with asyncio.timeout(DEADLINE), self._more:
            await self._more.wait_for(find)
        found = find()
        assert found is not None
        return found

    async def lost(self) -> Exception:
        async with asyncio.timeout(DEADLINE), self._more:
            await self._more.wait_for(lambda: self.failure)
        assert self.failure is not None
        return self.failure


@contextlib.asynccontextmanager
async def watching(source: events.Events) -> AsyncIterator[Watch]:
    watch = Watch()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.follow(source))
        await watch.seen(events.Subscribed)
        yield watch
        task.cancel()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.02)
