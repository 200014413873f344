"""JSON for the wire and for keeping."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from edgeorch.lib import json


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def memory(encode: Callable[[object], bytes], values: list[object]) -> tuple[list[bytes], int]:
    before = tracemalloc.get_traced_memory()[0]
    kept = [encode(value) for value in values]
    return kept, tracemalloc.get_traced_memory()[0] - before


@pytest.mark.usefixtures("traced")
def test_what_is_kept_takes_no_more_than_its_bytes() -> None:
    values: list[object] = [{"text": "x" * length} for length in range(1000, 1100)]
    encoded, loose = memory(json.encode, values)
    kept, close = memory(json.packed, values)
    assert kept == encoded
    content = sum(len(one) for one in kept)
    assert close < content * 1.05 < loose
