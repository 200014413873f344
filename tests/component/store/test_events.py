"""Events are bounded, and most of them go when memory is short."""

from __future__ import annotations

from edgeorch.lib import clock as clocks
from edgeorch.store import objects, recorder


def pod(number: int) -> dict[str, object]:
    meta = {"name": f"p{number}", "namespace": "default", "uid": str(number)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


def told(store: objects.Objects) -> set[str]:
    return {each.decode()["involvedObject"]["name"] for each in store.list("events").items}


async def test_when_memory_is_short_the_newest_stay(store: objects.Objects) -> None:
    log = recorder.Log(store, clocks.ManualClock(), "edge")
    speaker = log.recorder("kubelet")
    for number in range(400):
        speaker.event(pod(number), "Normal", "Started", f"Started container {number}")
    assert len(told(store)) == 400
    listed = store.version
    assert log.forget_some(), "there are more"
    assert told(store) == {f"p{number}" for number in range(128, 400)}
    assert len(store.history("events", listed)) == 128, "a list goes on with its next page"
    assert not log.forget_some()
    assert told(store) == {f"p{number}" for number in range(150, 400)}
    log.forget_some()
    speaker.event(pod(399), "Normal", "Started", "Started container 399")
    kept = [each.decode() for each in store.list("events").items]
    assert [each["count"] for each in kept if each["involvedObject"]["name"] == "p399"] == [2]
