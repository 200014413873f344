"""Other people's packet filters that stop pods."""

from __future__ import annotations

from typing import Any

from edgeorch.core import forward_policy

DROP = {
    "family": "ip",
    "table": "filter",
    "name": "FORWARD",
    "type": "filter",
    "hook": "forward",
    "prio": 0,
    "policy": "drop",
}


def blocked(*entries: dict[str, Any]) -> str | None:
    return forward_policy.blocked(entries, "edgeorch0", "edgeorch")


def rule(interface: str, verdict: str) -> dict[str, Any]:
    match = {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": interface}
    expr = [{"match": match}, {"counter": {"packets": 0, "bytes": 0}}, {verdict: None}]
    return {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "expr": expr}}


def test_a_policy_of_drop_is_told_with_its_fix() -> None:
    told = blocked({"metainfo": {}}, {"chain": DROP})
    assert told is not None
    assert told.startswith("chain FORWARD of table ip filter drops")
    assert "iptables -I FORWARD -i edgeorch0 -j ACCEPT" in told


def test_docker_has_a_chain_for_that() -> None:
    docker = {"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}}
    told = blocked({"chain": DROP}, docker)
    assert told is not None
    assert "iptables -I DOCKER-USER -o edgeorch0 -j ACCEPT" in told


def test_a_table_of_nft_is_mended_with_nft() -> None:
    told = blocked({"chain": DROP | {"family": "inet", "table": "fw", "name": "fwd"}})
    assert told is not None
    assert "nft insert rule inet fw fwd iifname edgeorch0 accept" in told


def test_what_lets_pods_through_is_left_in_peace() -> None:
    assert blocked({"chain": DROP | {"policy": "accept"}}) is None
    assert blocked({"chain": DROP | {"hook": "input"}}) is None
    assert blocked({"chain": DROP | {"table": "edgeorch"}}) is None
    assert blocked({"chain": DROP}, rule("edgeorch0", "accept")) is None
    assert blocked({"chain": DROP}, rule("docker0", "accept")) is not None
    assert blocked({"chain": DROP}, rule("edgeorch0", "drop")) is not None
