"""Other programs, run to their end and within a time; none outlives whoever waits for it."""

from __future__ import annotations

import asyncio
import os

from msgspec import Struct


class Done(Struct, frozen=True):
    """How it ended, and what it wrote to stdout and stderr."""

    code: int
    out: bytes
    wrong: bytes

    @property
    def complaint(self) -> str:
        return self.wrong.decode(errors="replace").strip()


async def run(*words: str | os.PathLike[str], limit: float, given: bytes = b"") -> Done:
    """`given` on its standard input; `limit` in seconds.

    Raises OSError when it cannot be run (FileNotFoundError: it is not installed), TimeoutError.
    """
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit):
            out, wrong = await child.communicate(given or None)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return Done(await child.wait(), out, wrong)
