"""Whether somebody else's packet filter drops what pods send and receive, and what to do about it.

An accept in our table does not outweigh a drop in another's: Docker sets the policy of iptables'
FORWARD chain to drop, firewalls do likewise. Their rules are theirs, so this is told, not mended.
Works on what `nft -j list ruleset` says (libnftables-json(5)); also sees iptables-nft's chains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Ruleset = Iterable[Mapping[str, Any]]


def blocked(ruleset: Ruleset, bridge: str, own_table: str) -> str | None:
    """What drops forwarded packets of pods and the fix, or None."""
    entries = list(ruleset)
    for entry in entries:
        chain = entry.get("chain")
        if chain is None or chain.get("hook") != "forward" or chain.get("policy") != "drop":
            continue
        if chain["family"] not in ("ip", "inet") or chain["table"] == own_table:
            continue
        table = (chain["family"], chain["table"])
        if not _lets_through(entries, table, bridge):
            return _told(entries, chain, bridge)
    return None


def _lets_through(entries: Ruleset, table: tuple[str, str], bridge: str) -> bool:
    """Some rule of the table accepts what comes from the bridge."""
    rules = (entry["rule"] for entry in entries if "rule" in entry)
    return any(
        (rule["family"], rule["table"]) == table
        and any("accept" in part for part in rule["expr"])
        and any(_names(part, bridge) for part in rule["expr"])
        for rule in rules
    )


def _names(part: Mapping[str, Any], bridge: str) -> bool:
    match = part.get("match") or {}
    return match.get("right") == bridge and match.get("op") == "=="


def _told(entries: Ruleset, chain: Mapping[str, Any], bridge: str) -> str:
    place = f"chain {chain['name']} of table {chain['family']} {chain['table']}"
    names = {entry["chain"]["name"] for entry in entries if "chain" in entry}
    if (chain["family"], chain["table"], chain["name"]) == ("ip", "filter", "FORWARD"):
        own = "DOCKER-USER" if "DOCKER-USER" in names else "FORWARD"
        fix = " && ".join(f"iptables -I {own} {flag} {bridge} -j ACCEPT" for flag in ("-i", "-o"))
    else:
        where = f"{chain['family']} {chain['table']} {chain['name']}"
        fix = " && ".join(
            f"nft insert rule {where} {match} {bridge} accept" for match in ("iifname", "oifname")
        )
    return f"{place} drops what pods send and receive: {fix}"
