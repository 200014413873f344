"""Which addresses Services of type LoadBalancer get."""

from __future__ import annotations

import pytest

from edgeorch.core import load_balancing
from edgeorch.core.load_balancing import Grant, Pool, Request

OWN = ("192.0.2.10", "192.0.2.11")
POOL = Pool([("198.51.100.1", "198.51.100.2")])


def request(name: str, port: int = 80, created: str = "1", **fields: object) -> Request:
    ports = frozenset({("TCP", port)})
    return Request(("default", name), created, ports, **fields)  # type: ignore[arg-type]


def given(found: dict[tuple[str, str], Grant]) -> dict[str, tuple[str, ...]]:
    return {name: granted.addresses for (_, name), granted in found.items()}


def test_the_device_s_own_addresses_serve_all_whose_ports_differ() -> None:
    found = load_balancing.grant([request("a"), request("b", 81)], OWN, Pool())
    assert given(found) == {"a": OWN, "b": OWN}


def test_a_port_is_the_oldest_service_s() -> None:
    asked = [request("a", created="2"), request("b", created="1")]
    found = load_balancing.grant(asked, OWN, Pool())
    assert given(found) == {"a": (), "b": OWN}
    assert found["default", "a"].why_not == "port 80/TCP is taken by Service default/b"


@pytest.mark.parametrize(
    ("asked", "own", "why"),
    [
        (request("a", 6443), OWN, "port 6443/TCP is the device's own"),
        (request("a"), (), "the device has no address yet"),
        (request("a", wanted="203.0.113.1"), OWN, "203.0.113.1 is not an address of the device"),
    ],
    ids=["reserved port", "no address", "not its address"],
)
def test_nothing_is_given_without_a_reason(asked: Request, own: tuple[str, ...], why: str) -> None:
    found = load_balancing.grant([asked], own, Pool(), frozenset({("TCP", 6443)}))
    assert found[asked.key].addresses == ()
    assert found[asked.key].why_not.startswith(why)


def test_one_of_its_addresses_can_be_wanted() -> None:
    found = load_balancing.grant([request("a", wanted=OWN[1])], OWN, Pool())
    assert given(found) == {"a": (OWN[1],)}


def test_each_has_an_address_of_the_pool_until_there_is_none() -> None:
    asked = [request(name, created=name) for name in "abc"]
    found = load_balancing.grant(asked, OWN, POOL)
    assert given(found) == {"a": ("198.51.100.1",), "b": ("198.51.100.2",), "c": ()}
    assert "no address is free" in found["default", "c"].why_not


def test_an_address_of_the_pool_is_kept_and_a_wanted_one_goes_to_who_asked_for_it() -> None:
    asked = [
        request("old", created="1"),
        request("keeps", created="2", held=("198.51.100.1",)),
        request("wants", created="3", wanted="198.51.100.2"),
    ]
    found = load_balancing.grant(asked, OWN, POOL)
    assert given(found) == {"old": (), "keeps": ("198.51.100.1",), "wants": ("198.51.100.2",)}


def test_a_pool_holds_its_ends() -> None:
    assert "198.51.100.1" in POOL
    assert "198.51.100.2" in POOL
    assert "198.51.100.3" not in POOL
    assert "198.51.100.0" not in POOL
