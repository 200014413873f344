"""The kernel's own limits on a netlink socket do not show."""

from __future__ import annotations

import asyncio

import pytest

from edgeorch.net import links
from tests.component.net import conftest
from tests.component.net.conftest import sh

pytestmark = pytest.mark.system

ROUTES = 2000
"""Several buffers full, so that a dump is not over at once."""


async def test_dumps_asked_for_at_the_same_time_all_succeed(device: conftest.Device) -> None:
    batch = device.run_dir.parent / "routes"
    batch.write_text(
        "".join(f"route add 10.9.{n // 250}.{n % 250 + 1} dev up0\n" for n in range(ROUTES))
    )
    sh(f"ip -batch {batch}")
    links_ = links.Links()
    links_.open()
    try:
        found = await asyncio.gather(*(links_.routes() for _ in range(8)))
    finally:
        links_.close()
    assert [len(routes) >= ROUTES for routes in found] == [True] * 8


async def test_what_the_kernel_says_to_nobody_is_not_kept(device: conftest.Device) -> None:
    """It acknowledges every question for one link, after the answer."""
    links_ = links.Links()
    links_.open()
    try:
        for _ in range(50):
            assert await links_.index("up0")
        await links_.routes()  # behind the last acknowledgement
        kept = links_._ipr.msg_queue.root.qsize()
    finally:
        links_.close()
    assert kept == 0
