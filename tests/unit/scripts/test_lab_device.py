"""A device's name decides its paths, and its address is nobody else's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lablib import device


@pytest.mark.parametrize("name", ["a", "demo", "t123-1", "0", "x" * 20])
def test_a_plain_name_is_taken(name: str) -> None:
    assert name == device.parse(name).name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "A", "a b", "a/b", "..", "a.b", "x" * 21, "demo\n"],
    ids=repr,
)
def test_a_name_that_could_leave_its_directory_is_refused(name: str) -> None:
    with pytest.raises(device.LabError):
        device.parse(name)


def test_the_longest_name_leaves_room_for_socket_paths() -> None:
    longest = device.parse("x" * 20)
    assert len(f"{longest.containerd_socket}.ttrpc") < 108


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), unique=True, max_size=40))
def test_addresses_of_live_devices_never_meet(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        address, neighbour = device.uplink(name, taken)
        link = ipaddress.ip_network(f"{address}/{device.LINK_PREFIX}", strict=False)
        assert link.subnet_of(device.UPLINKS)  # type: ignore[arg-type]
        assert {ipaddress.ip_address(address), ipaddress.ip_address(neighbour)} == set(link.hosts())
        assert not any(ipaddress.ip_address(other) in link for other in taken)
        taken.append(address)


def test_a_name_keeps_its_address_over_a_down_and_up() -> None:
    assert device.uplink("demo", []) == device.uplink("demo", [])


def test_a_taken_address_moves_the_next_device_to_the_next_link() -> None:
    first, _ = device.uplink("demo", [])
    second, _ = device.uplink("demo", [first])
    assert ipaddress.ip_address(first) + 4 == ipaddress.ip_address(second)
