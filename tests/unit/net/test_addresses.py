"""Which address is the node's, and which netlink messages may change that."""

from __future__ import annotations

import struct

import pytest

from edgeorch.net import addresses, links

LOOPBACK = addresses.Link(1, "lo", "", True, True, 65536)
ETHERNET = addresses.Link(2, "eth0", "", True, False, 1500)
WIRELESS = addresses.Link(3, "wlan0", "", True, False, 1400)
DOCKER = addresses.Link(4, "docker0", "bridge", True, False, 1500)
DOWN = addresses.Link(5, "eth1", "", False, False, 1500)
OWN = addresses.Own("edgeorch0", links.PROTOCOL, links.is_host_name)


def snapshot(*routes: addresses.Route, only: tuple[int, ...] = ()) -> addresses.Snapshot:
    held = [(1, "127.0.0.1"), (4, "172.17.0.1"), (5, "10.9.9.9"), (2, "192.0.2.5")]
    held += [(2, "192.0.2.6"), (3, "198.51.100.5")]
    return addresses.Snapshot(
        {link.index: link for link in (LOOPBACK, ETHERNET, WIRELESS, DOCKER, DOWN)},
        [addresses.Address(i, ip) for i, ip in held if not only or i in only],
        list(routes),
    )


def default(interface: int, **changes: object) -> addresses.Route:
    return addresses.Route("default", interface, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "internal", "mtu"),
    [
        pytest.param(snapshot(), "192.0.2.5", 1500, id="no route: first real interface"),
        pytest.param(snapshot(default(3)), "198.51.100.5", 1400, id="default route decides"),
        pytest.param(
            snapshot(default(2, metric=600), default(3, metric=100)),
            "198.51.100.5",
            1400,
            id="lowest metric",
        ),
        pytest.param(snapshot(default(2, source="192.0.2.6")), "192.0.2.6", 1500, id="its source"),
        pytest.param(snapshot(default(0, usable=False)), "192.0.2.5", 1500, id="unreachable"),
        pytest.param(snapshot(only=(1, 4)), "172.17.0.1", 1500, id="bridges of others come last"),
        pytest.param(snapshot(only=(1, 5)), "", 1500, id="loopback and down do not count"),
    ],
)
def test_the_node_address(found: addresses.Snapshot, internal: str, mtu: int) -> None:
    chosen = addresses.choose(found, bridge="10.42.0.1")
    assert (chosen.internal, chosen.mtu) == (internal, mtu)
    # Pods find the device in any case.
    assert chosen.host == (internal or "10.42.0.1")


def test_a_configured_address_wins_and_the_others_stay_known() -> None:
    chosen = addresses.choose(snapshot(), "203.0.113.1")
    assert chosen.internal == "203.0.113.1"
    assert chosen.all == ("192.0.2.5", "192.0.2.6", "198.51.100.5", "172.17.0.1")
    assert chosen.uplinks == ("eth0", "wlan0", "docker0")


@pytest.mark.parametrize(
    ("route", "clashes"),
    [
        pytest.param(addresses.Route("10.42.0.0/16", 2), True, id="wider"),
        pytest.param(addresses.Route("10.42.0.7/32", 2), True, id="narrower"),
        pytest.param(addresses.Route("10.43.0.0/16", 2), False, id="elsewhere"),
        pytest.param(addresses.Route("10.42.0.9/32", 99), False, id="on our bridge"),
        pytest.param(addresses.Route("10.42.0.0/24", 0, protocol=190), False, id="ours"),
        pytest.param(addresses.Route("default", 2), False, id="default"),
    ],
)
def test_routes_of_others_into_a_range(route: addresses.Route, clashes: bool) -> None:
    found = addresses.overlapping(snapshot(route), "10.42.0.0/24", links.PROTOCOL)
    assert (found is not None) == clashes


def attribute(kind: int, text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def link(name: str, *, family: int = 0, flags: int = addresses.IFF_UP) -> bytes:
    return struct.pack("=BBHiII", family, 0, 1, 7, flags, 0) + attribute(3, name)


def address(label: str) -> bytes:
    return struct.pack("=BBBBI", 2, 24, 0, 0, 7) + attribute(3, label)


def route(length: int, table: int, protocol: int) -> bytes:
    return struct.pack("=BBBBBBBBI", 2, length, 0, 0, table, protocol, 0, 1, 0)


POD = links.host_name("some-uid")


@pytest.mark.parametrize(
    ("kind", "body", "concerns"),
    [
        pytest.param(addresses.RTM_NEWLINK, link("eth0"), True, id="uplink"),
        pytest.param(addresses.RTM_NEWLINK, link("veth0"), True, id="uplink of a lab"),
        pytest.param(addresses.RTM_NEWLINK, link(POD), False, id="pod comes"),
        pytest.param(addresses.RTM_DELLINK, link(POD), False, id="pod goes"),
        pytest.param(addresses.RTM_NEWLINK, link("edgeorch0"), False, id="bridge has news"),
        pytest.param(addresses.RTM_NEWLINK, link("edgeorch0", flags=0), True, id="bridge down"),
        pytest.param(addresses.RTM_DELLINK, link("edgeorch0"), True, id="bridge gone"),
        pytest.param(addresses.RTM_NEWLINK, link("eth0", family=7), False, id="bridge port"),
        pytest.param(addresses.RTM_NEWADDR, address("eth0"), True, id="address"),
        pytest.param(addresses.RTM_NEWADDR, address("edgeorch0"), False, id="our address"),
        pytest.param(addresses.RTM_DELADDR, address("edgeorch0"), True, id="our address taken"),
        pytest.param(addresses.RTM_NEWROUTE, route(0, 254, 3), True, id="default route"),
        pytest.param(addresses.RTM_NEWROUTE, route(32, 254, 190), False, id="route to a pod"),
        pytest.param(addresses.RTM_DELROUTE, route(32, 254, 190), False, id="pod's route gone"),
        pytest.param(addresses.RTM_DELROUTE, route(24, 254, 190), True, id="our range taken"),
        pytest.param(addresses.RTM_NEWROUTE, route(32, 255, 2), False, id="kernel's own"),
        pytest.param(addresses.RTM_NEWROUTE, b"", False, id="cut short"),
    ],
)
def test_what_wakes_the_network(kind: int, body: bytes, concerns: bool) -> None:
    assert addresses.concerns_node(kind, body, OWN) is concerns


def test_a_datagram_may_hold_several_messages_or_garbage() -> None:
    one = struct.pack("=IHHII", 20, 16, 0, 0, 0) + b"abcd"
    assert list(addresses.messages(one + one)) == [(16, b"abcd"), (16, b"abcd")]
    assert list(addresses.messages(struct.pack("=IHHII", 3, 16, 0, 0, 0))) == []


def test_host_names_follow_from_the_uid_and_fit_the_kernel() -> None:
    name = links.host_name("0c5fb0d6-5a4e-4d0c-9c39-8a6a6a3b8f9e")
    assert name == links.host_name("0c5fb0d6-5a4e-4d0c-9c39-8a6a6a3b8f9e")
    assert len(name) <= 15
    assert links.is_host_name(name)
    assert not links.is_host_name("veth1234567")


def test_hardware_addresses_follow_from_the_address() -> None:
    assert links.hardware_address("10.42.0.254") == "0a:58:0a:2a:00:fe"
