"""Keys are coalesced, delayed, retried later each time, and never worked on twice at once."""

from __future__ import annotations

import asyncio

import pytest

from edgeorch.lib import backoff, workqueue

pytestmark = pytest.mark.looptime


async def test_a_key_put_in_twice_is_worked_once() -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 1)


async def test_a_key_put_in_during_its_work_comes_again_afterwards() -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 1)
    queue.done("a")
    assert await queue.take() == "a"


async def test_the_earliest_of_several_delays_counts(looptime: int) -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 7)
    assert await queue.take() == "a"
    assert asyncio.get_running_loop().time() == pytest.approx(3)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 20)


async def test_asking_at_once_overtakes_a_delay() -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    queue.add_after("a", 100)
    queue.add("a")
    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_a_failing_key_waits_longer_each_time_until_it_succeeds() -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue(backoff.Policy(1, 2, 5))
    delays = []
    for _ in range(4):
        delays.append(queue.retry("a"))
        await queue.take()
        queue.done("a")
    assert delays == [1, 2, 4, 5]
    queue.succeeded("a")
    assert queue.retry("a") == 1


async def test_idle_waits_for_all_work_but_not_for_what_is_due_later() -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    await queue.idle()
    queue.add_after("later", 1000)
    queue.add("a")
    waiting = asyncio.ensure_future(queue.idle())
    key = await queue.take()
    queue.add(key)
    queue.done(key)
    await asyncio.sleep(1)
    assert not waiting.done()
    queue.done(await queue.take())
    await asyncio.wait_for(waiting, 1)


async def test_what_waits_and_what_came_is_counted(looptime: int) -> None:
    queue: workqueue.WorkQueue[str] = workqueue.WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert (len(queue), queue.adds, queue.retries) == (2, 2, 0)
    await queue.take()
    queue.retry("a")
    assert (len(queue), queue.adds, queue.retries) == (1, 2, 1)
