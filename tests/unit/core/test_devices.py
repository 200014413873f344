"""Which device a container gets, and where it finds it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import container_labels, devices
from edgeorch.core.devices import Selector, Unit
from edgeorch.model import views

A, B, C = (Unit(name, (f"/dev/{name}",)) for name in "abc")


def test_what_is_not_there_stands_in_the_capacity_with_nothing() -> None:
    selectors = {"gps": Selector(("/dev/gps*",)), "cam": Selector(("/dev/video0",), count=4)}

    assert devices.capacity(selectors, {"cam": [A]}) == {
        "devices.edgeorch.io/cam": "4",
        "devices.edgeorch.io/gps": "0",
    }


def test_what_a_container_asks_for() -> None:
    limits = {"cpu": "1", "devices.edgeorch.io/gps": "2", "devices.edgeorch.io/cam": "0"}
    container = msgspec.convert({"name": "c", "resources": {"limits": limits}}, views.Container)

    assert devices.wanted(container) == {"gps": 2}


@pytest.mark.parametrize(
    ("count", "busy", "number", "mine", "chosen"),
    [
        pytest.param(1, {}, 1, [], [A], id="the first"),
        pytest.param(1, {"a": 1}, 2, [], [B, C], id="those that are free"),
        pytest.param(1, {"a": 1, "b": 1}, 2, [], None, id="not enough"),
        pytest.param(1, {}, 1, ["c"], [C], id="the one it had"),
        pytest.param(1, {"c": 1}, 1, ["c"], [A], id="another has it by now"),
        pytest.param(1, {}, 1, ["gone"], [A], id="the one it had is gone"),
        pytest.param(2, {"a": 1}, 1, [], [B], id="the least busy"),
        pytest.param(2, {"a": 1, "b": 1, "c": 2}, 2, [], [A, B], id="shared"),
        pytest.param(2, {"b": 2, "c": 2}, 2, [], [A, A], id="both shares of one"),
    ],
)
def test_who_gets_which(
    count: int, busy: dict[str, int], number: int, mine: list[str], chosen: list[Unit] | None
) -> None:
    assert devices.choose([A, B, C], count, busy, number, mine) == chosen


@given(st.integers(1, 3), st.lists(st.integers(1, 4), max_size=6))
def test_nothing_is_given_twice_and_nothing_is_held_back(count: int, asked: list[int]) -> None:
    busy: dict[str, int] = {}
    given_out = 0
    for number in asked:
        found = devices.choose([A, B, C], count, busy, number, [])
        assert (found is None) == (given_out + number > 3 * count)
        for unit in found or []:
            busy[unit.id] = busy.get(unit.id, 0) + 1
            given_out += 1
    assert all(each <= count for each in busy.values())


def test_where_it_is_in_the_container() -> None:
    pair = Unit("pair", ("/dev/video0", "/dev/media0"))

    assert devices.places(Selector(), [pair]) == [
        ("/dev/video0", "/dev/video0"), ("/dev/media0", "/dev/media0")
    ]  # fmt: skip
    assert devices.places(Selector(container_path="/dev/gps"), [A, B, A]) == [
        ("/dev/a", "/dev/gps"), ("/dev/b", "/dev/gps1")
    ]  # fmt: skip


def test_what_was_given_stands_in_a_label() -> None:
    assert container_labels.devices('{"gps":["/dev/a"]}') == {"gps": ["/dev/a"]}
    assert container_labels.devices("") == {}
    assert container_labels.devices("{") == {}


def test_what_comes_back_elsewhere_is_another_thing() -> None:
    def told(*units: Unit) -> str | None:
        return devices.identity({"gps": units, "cam": [A]}, {"gps": ["usb"], "cam": ["a"]})

    first = Unit("usb", ("/dev/ttyUSB0",), ("c188:0",))
    assert told(first, B) == told(C, first)
    assert told() is None
    elsewhere = (("/dev/ttyUSB1",), ("c188:0",)), (("/dev/ttyUSB0",), ("c188:1",))
    assert len({told(first), *(told(Unit("usb", *each)) for each in elsewhere)}) == 3
