"""A store on a real file."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.model import kinds
from edgeorch.store import database, objects

Object = dict[str, Any]


@contextlib.asynccontextmanager
async def opened(
    path: pathlib.Path, *, reserved: int = 0, spare: pathlib.Path | None = None
) -> AsyncIterator[objects.Objects]:
    """As the process opens it; leaving is a clean stop."""
    db = database.Database(path, reserved=reserved, spare=spare)
    await db.open()
    store = objects.Objects(db, kinds.Registry(), clocks.SystemClock())
    await store.load()
    writer = asyncio.ensure_future(db.run())
    flusher = asyncio.ensure_future(store.run())
    try:
        yield store
    finally:
        await tasks.cancel_and_wait(flusher)
        await tasks.cancel_and_wait(writer)
        await db.close()


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[objects.Objects]:
    async with opened(tmp_path / "state.db") as found:
        await found.create("namespaces", namespace("default"))
        yield found


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(name: str, **data: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def pod(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], "nodeName": "here"},
    }
