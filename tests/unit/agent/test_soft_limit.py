"""Above the soft limit caches go, once for each time that memory grows."""

from __future__ import annotations

import mmap
import os

import pytest

from edgeorch.agent import soft_limit
from edgeorch.lib import caches, memory, metrics

MIB = 1024 * 1024


class Process:
    """Its memory, of which a part is a cache."""

    def __init__(self, limit: int) -> None:
        self.own, self.cache, self.given_back = 50 * MIB, 0, 0
        self.slow = 0
        """Another cache, that goes by a MiB at a time."""
        known = caches.Caches()
        known.add("a cache", self._drop)
        known.add("a slow one", self._drop_some)
        self.limit = soft_limit.SoftLimit(
            limit, known, measure=self._used, give_back=self._give_back
        )

    def _drop(self) -> None:
        self.cache = 0

    def _drop_some(self) -> bool:
        self.slow = max(0, self.slow - MIB)
        return self.slow > 0

    def _used(self) -> int:
        return self.own + self.cache + self.slow

    def _give_back(self) -> None:
        self.given_back += 1

    def grow(self, own: int = 0, cache: int = 0) -> int:
        """How often caches have been dropped after that."""
        self.own += own
        self.cache += cache
        self.limit.look()
        return self.limit.drops


@pytest.mark.ask(4)
def test_caches_go_above_the_limit_and_not_below() -> None:
    process = Process(60 * MIB)
    assert process.grow(cache=10 * MIB) == 0
    assert process.grow(cache=1) == 1
    assert (process.cache, process.given_back) == (0, 1)
    assert process.grow(cache=11 * MIB) == 2


def test_what_does_not_help_is_not_done_over_and_over() -> None:
    process = Process(60 * MIB)
    assert process.grow(own=20 * MIB) == 1
    assert process.grow() == 1
    assert process.grow(cache=MIB - 1) == 1
    assert process.grow(cache=1) == 2


def test_what_goes_by_and_by_goes_as_long_as_memory_is_above_the_limit() -> None:
    process = Process(60 * MIB)
    process.slow = 5 * MIB
    assert [process.grow(own=8 * MIB), process.grow(), process.grow()] == [1, 2, 3]
    assert process.slow == 2 * MIB  # 60 MiB: that will do
    assert process.grow() == 3
    process.slow += MIB // 2
    assert [process.grow(own=8 * MIB), process.grow(), process.grow(), process.grow()] == [
        4,
        5,
        6,
        6,
    ]
    assert process.slow == 0


def test_without_a_limit_nothing_is_dropped() -> None:
    process = Process(0)
    assert process.grow(cache=10**12) == 0
    registry = metrics.Registry()
    process.limit.measure(registry)
    assert "edgeorch_memory_cache_drops_total 0\n" in registry.render()


def test_the_kernel_says_how_big_this_process_is() -> None:
    before = memory.proportional()
    with mmap.mmap(-1, 8 * MIB) as held:  # pages of its own, not such as were used before
        held.write(os.urandom(8 * MIB))
        assert memory.proportional() - before > 7 * MIB
