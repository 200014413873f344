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
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from edgeorch.controllers import index
from edgeorch.lib import journal, metrics, workqueue
from edgeorch.model.errors import StatusError
from edgeorch.model.kinds import Object

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
F = TypeVar("F")
T = TypeVar("T")

Change = Callable[[Object], Object]
"""What `Objects.update` applies."""

_SUCCESS, _ERROR, _AGAIN = "success", "error", "requeue_after"
"""What a reconciliation came to, in the words of controller-runtime."""


class Controller(abc.ABC, Generic[K]):
    name: ClassVar[str]
    workers: ClassVar[int] = 2
    """How many keys are worked on at the same time."""
    noun: ClassVar[str] = "object"
    """What a key stands for, as the log names it."""

    def __init__(self) -> None:
        self._queue: workqueue.WorkQueue[K] = workqueue.WorkQueue()
        self._results = dict.fromkeys((_SUCCESS, _ERROR, _AGAIN), 0)
        self._took = metrics.Distribution()

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
            began = time.monotonic()
            try:
                with journal.about(controller=self.name, **{self.noun: _shown(key)}):
                    self._results[await self._try(key)] += 1
            finally:
                self._queue.done(key)
                self._took.observe(time.monotonic() - began)

    async def _try(self, key: K) -> str:
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
            if again is None:
                return _SUCCESS
            self._queue.add_after(key, again)
            return _AGAIN
        return _ERROR

    # --- figures --------------------------------------------------------------------------------

    @property
    def results(self) -> dict[str, int]:
        """How many reconciliations came to what."""
        return self._results

    @property
    def took(self) -> metrics.Distribution:
        """Seconds that they took."""
        return self._took

    @property
    def queue(self) -> workqueue.WorkQueue[K]:
        return self._queue


def measure(registry: metrics.Registry, running: Iterable[object]) -> None:
    """Of those that are on this frame, by the names that controller-runtime and client-go use."""
    framed = [each for each in running if isinstance(each, Controller)]
    registry.collected(
        "controller_runtime_reconcile_total",
        "Reconciliations of keys by controller and result.",
        lambda: {(c.name, result): n for c in framed for result, n in c.results.items()},
        ("controller", "result"),
        kind="counter",
    )
    registry.collected(
        "workqueue_work_duration_seconds",
        "Seconds that reconciling a key took, by controller.",
        lambda: {(c.name,): c.took for c in framed},
        ("name",),
        kind="histogram",
    )
    registry.collected(
        "workqueue_depth",
        "Keys that wait to be reconciled, by controller.",
        lambda: {(c.name,): len(c.queue) for c in framed},
        ("name",),
    )
    registry.collected(
        "workqueue_adds_total",
        "How often a key came to wait, by controller.",
        lambda: {(c.name,): c.queue.adds for c in framed},
        ("name",),
        kind="counter",
    )
    registry.collected(
        "workqueue_retries_total",
        "How often a key that had failed was put off, by controller.",
        lambda: {(c.name,): c.queue.retries for c in framed},
        ("name",),
        kind="counter",
    )


def _shown(key: Hashable) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


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
