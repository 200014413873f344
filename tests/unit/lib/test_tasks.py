"""A supervised loop survives its bugs and passes cancellation on."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from edgeorch.lib import tasks

pytestmark = pytest.mark.looptime


async def test_a_failed_loop_is_named_in_the_log_and_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starts = 0
    running = asyncio.Event()

    async def loop() -> None:
        nonlocal starts
        starts += 1
        if starts < 4:
            raise RuntimeError("bug")
        running.set()
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        task = asyncio.ensure_future(tasks.supervise("the loop", loop))
        await asyncio.wait_for(running.wait(), 60)
        await tasks.cancel_and_wait(task)
    assert starts == 4
    assert caplog.text.count("the loop failed") == 3
    assert task.cancelled()


async def test_delays_grow_and_are_forgotten_after_a_healthy_run() -> None:
    loop = asyncio.get_running_loop()
    starts: list[float] = []
    enough = asyncio.Event()

    async def run() -> None:
        starts.append(loop.time())
        if len(starts) == 4:
            await asyncio.sleep(100)
        if len(starts) == 6:
            enough.set()
            await asyncio.Event().wait()
        raise RuntimeError("bug")

    task = asyncio.ensure_future(tasks.supervise("loop", run))
    await asyncio.wait_for(enough.wait(), 1000)
    await tasks.cancel_and_wait(task)
    gaps = [round(after - before, 3) for before, after in itertools.pairwise(starts)]
    assert gaps == [0.1, 0.2, 0.4, 100.1, 0.2]
