"""Which archives of the preload folder are imported."""

from __future__ import annotations

import pytest

from edgeorch.core import preloading
from edgeorch.core.preloading import Record, Stamp

STAMP = Stamp(1, 10, 7)


@pytest.mark.parametrize(
    ("record", "due"),
    [
        pytest.param(None, True, id="new"),
        pytest.param(Record(STAMP, ("a",)), False, id="done"),
        pytest.param(Record(STAMP, ("a", "b")), True, id="an-image-is-gone"),
        pytest.param(Record(STAMP, (), "broken"), False, id="broken-and-the-same"),
        pytest.param(Record(STAMP, ("b",), "broken"), False, id="broken-after-it-was-good"),
        pytest.param(Record(Stamp(2, 10, 7), ("a",)), True, id="another-time"),
        pytest.param(Record(Stamp(1, 11, 7), ("a",)), True, id="another-size"),
        pytest.param(Record(Stamp(1, 10, 8), ("a",)), True, id="another-inode"),
    ],
)
def test_due(record: Record | None, due: bool) -> None:
    known = {"x.tar": record} if record else {}
    assert preloading.due({"x.tar": STAMP}, known, {"a"}) == (["x.tar"] if due else [])


def test_they_are_imported_in_the_order_of_their_names() -> None:
    assert preloading.due({"b.tar": STAMP, "a.tar": STAMP}, {}, set()) == ["a.tar", "b.tar"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.tar", True),
        ("a.tar.gz", True),
        ("a.tgz", True),
        ("a.tar.zst", True),
        (".a.tar", False),
        ("a.tar.part", False),
        ("a.tar.gz.filepart", False),
        ("README", False),
    ],
)
def test_names(name: str, expected: bool) -> None:
    assert preloading.is_archive(name) is expected
