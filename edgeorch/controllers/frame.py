"""The frame of all controllers: changes put keys in a queue, workers reconcile them.

A controller says which indexes wake it and for which keys, and how to reconcile one key: look at
everything that concerns it, decide, act. The frame coalesces, retries with back-off, and calls
again when asked to. Everything that exists is reconciled once at start, because the indexes tell
of it then; after that only what changed. A change is never lost: at worst it is seen again.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from edgeorch.controllers import index
from edgeorch.lib import workqueue
from edgeorch.model.errors import StatusError
from edgeorch.model.kinds import Object

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
F = TypeVar("F")
T = TypeVar("T")

Change = Callable[[Object], Object]
"""What `Objects.update` applies."""


class Controller(abc.ABC, Generic[K]):
    name: ClassVar[str]
    workers: ClassVar[int] = 2
    """How many keys are worked on at the same time."""

    def __init__(self) -> None:
        self._queue: workqueue.WorkQueue[K] = workqueue.WorkQueue()

    def wake_on(
        self, source: index.Index[F], keys: Callable[[index.Change[F]], Iterable[K]]
    ) -> None:
        def told(change: index.Change[F]) -> None:
            for key in keys(change):
                self._queue.add(key)

        source.subscribe(told)

    def wake(self, key: K) -> None:
        self._queue.add(key)

    @abc.abstractmethod
    async def reconcile(self, key: K) -> float | None:
        """Bring what `key` stands for nearer to what is wanted.

        The seconds after which to be called again, None: when something changes.
        """

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.workers):
                tasks.create_task(self._work(), name=f"{self.name} {number}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                await self._try(key)
            finally:
                self._queue.done(key)

    async def _try(self, key: K) -> None:
        try:
            again = await self.reconcile(key)
        except StatusError as error:
            delay = self._queue.retry(key)
            log.info("%s: %s: %s; again in %.2f s", self.name, key, error, delay)
        except Exception:
            delay = self._queue.retry(key)
            log.exception("%s: %s failed; again in %.2f s", self.name, key, delay)
        else:
            self._queue.succeeded(key)
            if again is not None:
                self._queue.add_after(key, again)


def itself(change: index.Change[Any]) -> Iterable[index.Key]:
    """The changed object is what is reconciled."""
    return (change.key,)


def is_namespace_ending(error: StatusError) -> bool:
    """Nothing can be created any more where everything is being deleted."""
    return error.code == 403 and "because it is being terminated" in error.message


async def ignoring_absence(work: Awaitable[T]) -> T | None:
    """The result of `work`, or None when the object has gone meanwhile."""
    try:
        return await work
    except StatusError as error:
        if error.code == 404:
            return None
        raise
