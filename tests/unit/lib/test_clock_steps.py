"""The watch on the wall clock holds still while nobody sets the clock, and can be called off."""

from __future__ import annotations

import asyncio

import pytest

from edgeorch.lib import clock_steps


async def test_nothing_is_heard_while_nobody_sets_the_clock() -> None:
    steps = clock_steps.ClockSteps()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(steps.wait(), 0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(steps.wait(), 0.05)
    steps.close()
