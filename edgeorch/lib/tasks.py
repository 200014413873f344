"""Long-lived tasks: named, supervised, owned.

Every long loop runs through `supervise` inside a task group, so that a bug in one loop is logged
with its name and the loop is started again after a back-off instead of felling the process or,
worse, dying unseen. Cancellation passes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from edgeorch.lib import backoff

log = logging.getLogger(__name__)

STOP_WITHIN = 20.0
"""Seconds after which a loop that does not end is named in the log."""
RESTARTS = backoff.Policy(initial=0.1, factor=2.0, cap=30.0)


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    delays: backoff.Policy = RESTARTS,
    healthy_after: float = 60.0,
) -> None:
    """Run `run` for ever: when it fails or returns, start it again after a growing delay (seconds).

    A run that lasted `healthy_after` seconds starts the delays anew.
    """
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await run()
            log.warning("%s ended; starting it again", name)
        except Exception:
            log.exception("%s failed; starting it again", name)
        failures = 0 if loop.time() - started >= healthy_after else failures
        await asyncio.sleep(delays.delay(failures))
        failures += 1


async def cancel_and_wait(*tasks: asyncio.Task[object]) -> None:
    """Cancel and see the end of each; what a task raised on its way out is logged, not raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("a cancelled task failed", exc_info=result)


async def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel and see its end. How it ends is nobody's concern, or others are told by it."""
    task.add_done_callback(_retrieve)
    task.cancel()
    await asyncio.wait([task])


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # else asyncio logs that nobody has asked for it


@contextlib.asynccontextmanager
async def running(loops: dict[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Supervise these loops by name; leaving cancels them and sees their end."""
    async with asyncio.TaskGroup() as group:
        started = [
            group.create_task(supervise(name, loop), name=name) for name, loop in loops.items()
        ]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
            _, stuck = await asyncio.wait(started, timeout=STOP_WITHIN) if started else ((), ())
            for task in stuck:
                log.error("%s does not stop", task.get_name())
