"""What all pulls together take of the link stays within the rate."""

from __future__ import annotations

import asyncio

import pytest

from edgeorch.registry import pace


@pytest.mark.looptime
async def test_all_who_take_share_the_rate() -> None:
    shared = pace.Pace(1000)

    async def take() -> None:
        for _ in range(5):
            await shared.take(100)

    began = asyncio.get_running_loop().time()
    await asyncio.gather(take(), take(), take())
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.5)


@pytest.mark.looptime
async def test_what_was_not_taken_is_not_saved_up() -> None:
    shared = pace.Pace(1000)
    await shared.take(100)
    await asyncio.sleep(60)
    began = asyncio.get_running_loop().time()
    await shared.take(1000)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)


@pytest.mark.looptime
async def test_without_a_rate_nobody_waits() -> None:
    began = asyncio.get_running_loop().time()
    await pace.Pace().take(1 << 40)
    assert asyncio.get_running_loop().time() == began
