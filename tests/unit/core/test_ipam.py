"""Addresses and ports: never twice, reused late, taken from the right band."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import ipam


def test_pod_addresses_go_round_and_leave_out_network_gateway_and_broadcast() -> None:
    pool = ipam.AddressPool("10.42.0.0/29", reserved=["10.42.0.1"])
    given_out = [pool.take_next() for _ in range(5)]
    assert [f"10.42.0.{n}" for n in range(2, 7)] == given_out
    with pytest.raises(ipam.Exhausted):
        pool.take_next()


def test_a_freed_address_is_reused_last() -> None:
    pool = ipam.AddressPool("10.42.0.0/28")
    first = pool.take_next()
    pool.release(first)
    others = [pool.take_next() for _ in range(13)]
    assert first not in others
    assert first == pool.take_next()


def test_allocation_goes_on_after_an_adopted_address() -> None:
    pool = ipam.AddressPool("10.42.0.0/24")
    pool.reserve("10.42.0.77")
    pool.advance_past("10.42.0.77")
    assert pool.take_next() == "10.42.0.78"


@pytest.mark.parametrize(
    ("address", "error"),
    [
        pytest.param("10.43.0.1", ipam.InUse, id="taken"),
        pytest.param("10.44.0.1", ipam.OutOfRange, id="other network"),
        pytest.param("10.43.0.0", ipam.OutOfRange, id="network address"),
        pytest.param("10.43.255.255", ipam.OutOfRange, id="broadcast"),
        pytest.param("fd00::1", ipam.OutOfRange, id="other family"),
    ],
)
def test_reserving_refuses(address: str, error: type[Exception]) -> None:
    pool = ipam.AddressPool("10.43.0.0/16", reserved=["10.43.0.1"])
    with pytest.raises(error):
        pool.reserve(address)


def test_chosen_numbers_come_from_the_upper_band_until_it_is_full() -> None:
    pool = ipam.PortPool(30000, 30063)
    upper = {pool.take_chosen(lambda n: n - 1) for _ in range(48)}
    assert upper == set(range(30016, 30064))
    assert pool.take_chosen(lambda n: 0) == 30000


def test_an_ipv6_pool_hands_out_addresses_of_its_network() -> None:
    pool = ipam.AddressPool("fd00:10::/64")
    assert pool.take_next() == "fd00:10::1"


@given(
    st.lists(
        st.one_of(
            st.just(("next", 0)),
            st.tuples(st.sampled_from(["chosen", "reserve", "release"]), st.integers(0, 40)),
        ),
        max_size=80,
    )
)
def test_no_number_is_ever_held_twice(steps: list[tuple[str, int]]) -> None:
    numbers = ipam.Numbers(5, 40)
    held: set[int] = set()
    for step, value in steps:
        try:
            if step == "release":
                numbers.release(value)
                held.discard(value)
                continue
            if step == "reserve":
                numbers.reserve(value)
                got = value
            elif step == "next":
                got = numbers.take_next()
            else:
                got = numbers.take_chosen(lambda n, v=value: v % n, 8)  # type: ignore[misc]
        except (ipam.Exhausted, ipam.InUse, ipam.OutOfRange) as error:
            if isinstance(error, ipam.Exhausted):
                assert len(held) == 36
            continue
        assert got not in held
        assert 5 <= got <= 40
        held.add(got)
    assert numbers.free() == 36 - len(held)
