"""Events are forgotten after a while, and when there are too many, whoever made them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.store import event_limits, objects, recorder
from tests.component.store.conftest import Object


def event(name: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": involved,
        "reason": "Said", "message": name, "type": "Normal",
    }  # fmt: skip


@pytest.fixture
async def limited(store: objects.Objects) -> AsyncIterator[objects.Objects]:
    limits = event_limits.EventLimits(store, clocks.SystemClock())
    async with tasks.running({"events": limits.run}):
        yield store


def names(store: objects.Objects) -> list[str]:
    return [stored.name for stored in store.list("events").items]


async def until(store: objects.Objects, wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while names(store) != wanted:
            await asyncio.sleep(0.005)


@pytest.mark.ask(3)
async def test_the_oldest_go_when_there_are_too_many(
    limited: objects.Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_limits, "MOST", 3)
    for name in "abc":
        await limited.create("events", event(name))
    await until(limited, ["a", "b", "c"])

    def again(obj: Object) -> Object:
        return {**obj, "count": 2}

    await limited.update("events", "default", "a", again)
    for name in "de":
        await limited.create("events", event(name))
    await until(limited, ["a", "d", "e"])


async def test_they_go_after_a_while_without_any_other(
    limited: objects.Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "TTL", 0.1)
    await limited.create("events", event("a"))
    await until(limited, [])


async def test_what_the_device_says_is_bounded_too(
    store: objects.Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_EVENTS", 20)
    log = recorder.Log(store, clocks.SystemClock(), "edge").recorder("kubelet")
    for number in range(50):
        meta = {"name": f"pod-{number}", "namespace": "default", "uid": str(number)}
        obj = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
        log.event(obj, "Normal", "Started", "Started container main")
    assert len(names(store)) == 20
    assert names(store)[-1].startswith("pod-49.")
