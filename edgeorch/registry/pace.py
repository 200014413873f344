"""A bound on what all pulls together take of the link."""

from __future__ import annotations

import asyncio


class Pace:
    """`take` waits until so many more bytes are within the rate. Without a rate it never does.

    Debts are paid after the fact: who has read a piece waits for its time, and the next one waits
    behind. The unread bytes then fill the socket's buffer, and TCP slows the sender.
    """

    def __init__(self, bytes_per_second: int = 0) -> None:
        self._rate = bytes_per_second
        self._paid_until = 0.0

    async def take(self, count: int) -> None:
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + count / self._rate
        await asyncio.sleep(self._paid_until - now)
