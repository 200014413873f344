"""Histories of all resources share one allowance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeorch.store import watch
from edgeorch.store.stored import Stored

CHANGES = st.lists(
    st.tuples(st.sampled_from(["pods", "events", "secrets"]), st.integers(1, 1536 * 1024)),
    max_size=40,
)


def change(resource: str, version: int, size: int) -> watch.Event:
    stored = Stored(resource, "default", "one", version, b"x" * size)
    return watch.Event(watch.MODIFIED, stored, None)


@given(CHANGES)
def test_together_they_are_no_longer_than_allowed_and_each_keeps_its_latest(
    changes: list[tuple[str, int]],
) -> None:
    history = watch.History(0)
    latest: dict[str, int] = {}
    for version, (resource, size) in enumerate(changes, 1):
        history.publish(resource, change(resource, version, size))
        latest[resource] = size
        assert [e.stored.version for e in history.of(resource).since(version - 1)] == [version]
        kept = sum(history.of(name).bytes for name in latest)
        assert kept <= max(watch.MAX_TOTAL, sum(latest.values()))


def test_the_longest_history_becomes_shorter_first() -> None:
    history = watch.History(0)
    history.publish("secrets", change("secrets", 1, 1000))
    for version in range(2, 2000):
        resource = ("pods", "events", "configmaps")[version % 3]
        history.publish(resource, change(resource, version, 4000))
    assert len(history.of("secrets").since(0)) == 1
