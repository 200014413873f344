"""resolv.conf(5) as it is found in the field, and for how long a failing resolver is left alone."""

from __future__ import annotations

import pytest

from edgeorch.dns import resolvers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("nameserver 192.0.2.1\n", ["192.0.2.1"], id="one"),
        pytest.param(
            "# nameserver 192.0.2.9\nsearch lan\nnameserver\t192.0.2.1  \noptions edns0\n"
            "nameserver 2001:db8::1 # the second\n",
            ["192.0.2.1", "2001:db8::1"],
            id="with comments and options",
        ),
        pytest.param("nameserver fe80::1%eth0", ["fe80::1%eth0"], id="with a scope"),
        pytest.param("nameserver\nnameserver host.lan\nnameserver 1.2.3", [], id="no addresses"),
        pytest.param("nameserver 192.0.2.1\nnameserver 192.0.2.1", ["192.0.2.1"], id="twice"),
        pytest.param(" nameserver 192.0.2.1", ["192.0.2.1"], id="indented"),
        pytest.param("Nameserver 192.0.2.1\nnameservers 192.0.2.1", [], id="other keywords"),
    ],
)
def test_nameservers(text: str, found: list[str]) -> None:
    assert resolvers.nameservers(text) == found


def test_a_resolver_that_fails_rests_longer_each_time() -> None:
    made = resolvers.Resolver("192.0.2.1")
    now, rests = 0.0, []
    for _ in range(8):
        made.failed(now)
        start = now
        while not made.may_be_asked(now):
            now += 0.5
        rests.append(now - start)
    assert rests == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    made.answered()
    assert not made.is_down()


def test_only_one_question_goes_to_a_resolver_that_is_down() -> None:
    made = resolvers.Resolver("192.0.2.1")
    for _ in range(resolvers.FAILURES):
        made.failed(0.0)
    assert made.may_be_asked(1.0)
    made.asked(1.0)
    assert not made.may_be_asked(1.0)
