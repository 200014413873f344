"""Whether somebody else's packet filter stops what pods send, and what to do about it.

An accept in our table does not outweigh a drop in another's: Docker sets the policy of iptables'
FORWARD chain to drop, ufw that of INPUT too (so that pods cannot ask the device's DNS), firewalld
ends its chains with a reject. Their rules are theirs, so this is told, not mended.

Works on what `nft -j list ruleset` says (libnftables-json(5)); also sees iptables-nft's chains.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

Entry = Mapping[str, Any]
_Table = tuple[str, str]
_STOPS = ("drop", "reject")
_GOES_ON = ("jump", "goto")
_LOSS = {
    "forward": "stops what pods send to others",
    "input": "stops what pods send to this device, questions for names too",
}


def blocked(ruleset: Iterable[Entry], bridge: str, own_table: str, pod_cidr: str = "") -> list[str]:
    """For each chain that stops pods: its place, what is lost, and after a colon the fix."""
    pods = _Pods(bridge, pod_cidr)
    entries = list(ruleset)
    found = []
    for entry in entries:
        chain = entry.get("chain")
        if chain is None or chain.get("hook") not in _LOSS or chain["table"] == own_table:
            continue
        if chain["family"] not in ("ip", "inet"):
            continue
        table = _Rules(entries, (chain["family"], chain["table"]))
        if table.ends_in_refusal(chain) and not table.lets_through(chain["name"], pods):
            found.append(_told(table, chain, bridge))
    return found


class _Rules:
    """The rules of one table, by chain."""

    def __init__(self, entries: Iterable[Entry], table: _Table) -> None:
        self._by_chain: dict[str, list[list[Entry]]] = {}
        for entry in entries:
            for word in ("chain", "rule"):
                each = entry.get(word)
                if each is not None and (each["family"], each["table"]) == table:
                    name = each["name"] if word == "chain" else each["chain"]
                    rules = self._by_chain.setdefault(name, [])
                    if word == "rule":
                        rules.append(each["expr"])

    @property
    def chains(self) -> set[str]:
        return set(self._by_chain)

    def ends_in_refusal(self, chain: Entry) -> bool:
        """A packet that no rule is about is stopped."""
        if chain.get("policy") == "drop":
            return True
        rules = self._by_chain[chain["name"]]
        return bool(rules) and _is_plain_refusal(rules[-1])

    def lets_through(self, start: str, pods: _Pods) -> bool:
        """Some rule on the way accepts what comes from pods or whatever comes, or leads pods'
        packets elsewhere."""
        seen, waiting = {(start, True)}, [(start, True)]
        while waiting:
            # Always: every packet comes through this chain, not only some.
            name, always = waiting.pop()
            for expr in self._by_chain.get(name, ()):
                if _opens(expr, pods) or (always and _is_plain(expr, ("accept",))):
                    return True
                plain = always and _is_plain(expr, _GOES_ON)
                fresh = {(target, plain) for target in _targets(expr)} - seen
                seen |= fresh
                waiting += fresh
        return False


class _Pods(Struct, frozen=True):
    """How rules of others name pods: by the bridge, or by their range."""

    bridge: str
    cidr: str = ""

    def are_meant(self, value: Any) -> bool:
        """`value`: the right side of a match, or one element of a set."""
        if isinstance(value, Mapping) and "set" in value:
            return any(self.are_meant(each) for each in value["set"])
        if isinstance(value, Mapping) and "prefix" in value:
            prefix = value["prefix"]
            return self._in_range(f"{prefix['addr']}/{prefix['len']}")
        return bool(value == self.bridge)

    def _in_range(self, text: str) -> bool:
        if not self.cidr:
            return False
        pods, named = ipaddress.ip_network(self.cidr), ipaddress.ip_network(text, strict=False)
        return pods.version == named.version and pods.subnet_of(named)  # type: ignore[arg-type]


def _opens(expr: list[Entry], pods: _Pods) -> bool:
    if any("vmap" in part for part in expr):
        return any(pods.are_meant(key) for part in expr for key in _verdict_keys(part))
    if not any("accept" in part for part in expr) and not _targets(expr):
        return False
    return any(pods.are_meant(right) for right in _compared(expr))


def _targets(expr: list[Entry]) -> list[str]:
    """The chains that a rule leads to."""
    return [part[word]["target"] for part in expr for word in _GOES_ON if word in part]


def _compared(expr: list[Entry]) -> list[Any]:
    matches = (part["match"] for part in expr if "match" in part)
    return [match.get("right") for match in matches if match.get("op") == "=="]


def _verdict_keys(part: Entry) -> list[Any]:
    """The keys of a verdict map that are not stopped there."""
    data = (part.get("vmap") or {}).get("data")
    listed = data.get("set", ()) if isinstance(data, Mapping) else ()
    return [key for key, verdict in listed if not any(word in verdict for word in _STOPS)]


def _is_plain_refusal(expr: list[Entry]) -> bool:
    """Drops or rejects whatever comes."""
    return _is_plain(expr, _STOPS)


def _is_plain(expr: list[Entry], verdicts: tuple[str, ...]) -> bool:
    """One of the verdicts, and no condition before it."""
    words = [next(iter(part)) for part in expr]
    return bool(words) and words[-1] in verdicts and all(word == "counter" for word in words[:-1])


def _told(table: _Rules, chain: Entry, bridge: str) -> str:
    place = f"chain {chain['name']} of table {chain['family']} {chain['table']}"
    return f"{place} {_LOSS[chain['hook']]}: {_fix(table, chain, bridge)}"


def _fix(table: _Rules, chain: Entry, bridge: str) -> str:
    forward = chain["hook"] == "forward"
    if chain["table"] == "firewalld":
        return (
            f"firewall-cmd --permanent --zone=trusted --add-interface={bridge}"
            " && firewall-cmd --reload"
        )
    if any(name.startswith("ufw-") for name in table.chains):
        words = ("route allow in on", "route allow out on") if forward else ("allow in on",)
        return " && ".join(f"ufw {word} {bridge}" for word in words)
    if (chain["family"], chain["table"]) == ("ip", "filter") and chain["name"].isupper():
        own = "DOCKER-USER" if forward and "DOCKER-USER" in table.chains else chain["name"]
        flags = ("-i", "-o") if forward else ("-i",)
        return " && ".join(f"iptables -I {own} {flag} {bridge} -j ACCEPT" for flag in flags)
    where = f"{chain['family']} {chain['table']} {chain['name']}"
    matches = ("iifname", "oifname") if forward else ("iifname",)
    return " && ".join(f"nft insert rule {where} {match} {bridge} accept" for match in matches)
