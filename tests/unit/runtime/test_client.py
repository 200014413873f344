"""Calls that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.exceptions import StreamTerminatedError
from grpclib.utils import Wrapper

from edgeorch.runtime import client, errors


class Hanging:
    """A method that is never answered; as grpclib, it waits inside a wrapper, by which the loss of
    the connection wakes it."""

    name = "/hanging"

    def __init__(self) -> None:
        self.wrapper = Wrapper()
        self.begun = asyncio.Event()

    async def __call__(self, request: object, **options: object) -> None:
        with self.wrapper:
            self.begun.set()
            await asyncio.Event().wait()

    def break_off(self) -> None:
        self.wrapper.cancel(StreamTerminatedError("Connection lost"))


@pytest.fixture
async def containerd(tmp_path: Path) -> AsyncIterator[client.Client]:
    made = client.Client(str(tmp_path / "containerd.sock"), "edgeorch")
    yield made
    made.close()


async def begun(containerd: client.Client, method: Hanging) -> asyncio.Task[None]:
    call: Any = containerd.call(method, object(), deadline=None)  # type: ignore[arg-type]
    task: asyncio.Task[None] = asyncio.create_task(call)
    await method.begun.wait()
    return task


async def test_a_connection_that_breaks_is_told(containerd: client.Client) -> None:
    method = Hanging()
    task = await begun(containerd, method)
    method.break_off()
    with pytest.raises(errors.Unavailable, match="Connection lost"):
        await task


@pytest.mark.parametrize("first", ["break", "cancel"])
async def test_who_is_cancelled_while_the_connection_breaks_is_cancelled(
    containerd: client.Client, first: str
) -> None:
    method = Hanging()
    task = await begun(containerd, method)
    for deed in (method.break_off, task.cancel)[:: 1 if first == "break" else -1]:
        deed()
    with pytest.raises(asyncio.CancelledError):
        await task
