"""Other people's packet filters that stop pods."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import packet_filters

DROP = {
    "family": "ip",
    "table": "filter",
    "name": "FORWARD",
    "type": "filter",
    "hook": "forward",
    "prio": 0,
    "policy": "drop",
}
INPUT = DROP | {"name": "INPUT", "hook": "input"}
FIREWALLD = DROP | {"family": "inet", "table": "firewalld", "policy": "accept"}


def blocked(*entries: dict[str, Any]) -> list[str]:
    return packet_filters.blocked(entries, "edgeorch0", "edgeorch", "10.42.0.0/24")


def rule(
    interface: Any,
    *verdict: Any,
    chain: str = "FORWARD",
    family: str = "ip",
    table: str = "filter",
) -> dict[str, Any]:
    match = {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface}
    condition = [{"match": match}] if interface else []
    word = verdict[0] if isinstance(verdict[0], dict) else {verdict[0]: None}
    expr = [*condition, {"counter": {"packets": 0, "bytes": 0}}, word]
    return {"rule": {"family": family, "table": table, "chain": chain, "expr": expr}}


def jump(chain: str, target: str, interface: str = "", **place: str) -> dict[str, Any]:
    return rule(interface, {"jump": {"target": target}}, chain=chain, **place)


def test_a_policy_of_drop_is_told_with_its_fix() -> None:
    (told,) = blocked({"metainfo": {}}, {"chain": DROP})
    assert told.startswith("chain FORWARD of table ip filter stops what pods send to others: ")
    assert "iptables -I FORWARD -i edgeorch0 -j ACCEPT" in told


def test_docker_has_a_chain_for_that() -> None:
    docker = {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}
    (told,) = blocked({"chain": DROP}, docker)
    assert "iptables -I DOCKER-USER -o edgeorch0 -j ACCEPT" in told


def test_a_table_of_nft_is_mended_with_nft() -> None:
    (told,) = blocked({"chain": DROP | {"family": "inet", "table": "fw", "name": "fwd"}})
    assert "nft insert rule inet fw fwd iifname edgeorch0 accept" in told


def test_an_input_that_drops_keeps_pods_from_their_dns() -> None:
    (told,) = blocked({"chain": INPUT})
    assert "questions for names too: iptables -I INPUT -i edgeorch0 -j ACCEPT" in told


def test_ufw_is_mended_with_ufw_and_each_way_counts_for_itself() -> None:
    """Its chains lie behind jumps; a rule for one hook opens nothing at the other."""
    users: list[dict[str, Any]] = [
        {"chain": {"family": "ip", "table": "filter", "name": f"ufw-user-{hook}"}}
        for hook in ("input", "forward")
    ]
    ruleset: list[dict[str, Any]] = [
        {"chain": INPUT}, {"chain": DROP}, *users,
        jump("INPUT", "ufw-user-input"), jump("FORWARD", "ufw-user-forward"),
    ]  # fmt: skip
    assert [told.partition(": ")[2] for told in blocked(*ruleset)] == [
        "ufw allow in on edgeorch0",
        "ufw route allow in on edgeorch0 && ufw route allow out on edgeorch0",
    ]
    opened = rule("edgeorch0", "accept", chain="ufw-user-input")
    assert len(blocked(*ruleset, opened)) == 1
    routed = rule("edgeorch0", "accept", chain="ufw-user-forward")
    assert blocked(*ruleset, opened, routed) == []


def test_firewalld_rejects_at_the_end_of_a_chain_that_accepts() -> None:
    place = {"family": "inet", "table": "firewalld"}
    chain = {"chain": FIREWALLD | {"name": "filter_FORWARD"}}
    zones = {"chain": {"family": "inet", "table": "firewalld", "name": "zones"}}
    way = jump("filter_FORWARD", "zones", **place)
    end = rule("", {"reject": {"type": "icmpx"}}, chain="filter_FORWARD", **place)
    (told,) = blocked(chain, zones, way, end)
    assert "firewall-cmd --permanent --zone=trusted --add-interface=edgeorch0" in told
    trusted = jump("zones", "trusted", "edgeorch0", **place)
    assert blocked(chain, zones, trusted, way, end) == []
    assert blocked(chain, zones, way, rule("eth9", "drop", chain="filter_FORWARD", **place)) == []


def test_what_lets_pods_through_is_left_in_peace() -> None:
    assert blocked({"chain": DROP | {"policy": "accept"}}) == []
    assert blocked({"chain": DROP | {"hook": "output"}}) == []
    assert blocked({"chain": DROP | {"table": "edgeorch"}}) == []
    assert blocked({"chain": DROP}, rule("edgeorch0", "accept")) == []
    assert blocked({"chain": DROP}, rule("docker0", "accept")) != []
    assert blocked({"chain": DROP}, rule("edgeorch0", "drop")) != []


@pytest.mark.parametrize(
    ("named", "through"),
    [
        pytest.param({"prefix": {"addr": "10.42.0.0", "len": 16}}, True, id="a wider range"),
        pytest.param({"prefix": {"addr": "10.42.0.0", "len": 26}}, False, id="a part of it"),
        pytest.param({"prefix": {"addr": "fd00::", "len": 8}}, False, id="IPv6"),
        pytest.param({"set": ["docker0", "edgeorch0"]}, True, id="among others"),
        pytest.param({"set": ["docker0", "br0"]}, False, id="others"),
        pytest.param("", True, id="everybody"),
    ],
)
def test_pods_are_meant_in_other_words(named: Any, through: bool) -> None:
    assert (blocked({"chain": DROP}, rule(named, "accept")) == []) is through


def test_a_verdict_map_of_interfaces() -> None:
    def zones(verdict: str) -> dict[str, Any]:
        data = {"set": [["eth0", {"goto": {"target": "a"}}], ["edgeorch0", {verdict: None}]]}
        vmap = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": data}}
        return {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "expr": [vmap]}}

    assert blocked({"chain": DROP}, zones("accept")) == []
    assert len(blocked({"chain": DROP}, zones("drop"))) == 1


def test_what_accepts_only_some_opens_nothing_for_pods() -> None:
    """ufw-user-limit-accept and firewalld's trusted zone take whatever they are handed."""
    chain = {"chain": {"family": "ip", "table": "filter", "name": "trusted"}}
    takes = rule("", "accept", chain="trusted")
    assert len(blocked({"chain": DROP}, chain, jump("FORWARD", "trusted", "eth1"), takes)) == 1
    assert blocked({"chain": DROP}, chain, jump("FORWARD", "trusted"), takes) == []


def test_chains_that_lead_in_circles_end() -> None:
    other = {"chain": {"family": "ip", "table": "filter", "name": "a"}}
    assert len(blocked({"chain": DROP}, other, jump("FORWARD", "a"), jump("a", "FORWARD"))) == 1
