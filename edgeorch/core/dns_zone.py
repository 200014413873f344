"""The cluster's zone: what the device itself answers, and what it never asks anybody else.

Everything under the cluster domain, and the reverse names of the pod and Service ranges. A Service
is one entry, an immutable `ServiceRecords`, exchanged as a whole by `put`: what a change costs does
not depend on how many Services there are, and an answer is from before it or from after it.

Names: Kubernetes DNS specification 1.1.0 and RFC 1034; a name that exists without records of the
wanted type answers NOERROR with the SOA in the authority section, one that does not NXDOMAIN
(RFC 2308). Pod names (`10-42-0-7.default.pod`) answer for any address if the namespace exists, as
the specification has them. Written by `proxy.records`; read by the DNS server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import Struct

from edgeorch.core import dns_records
from edgeorch.wire import dns

SCHEMA_VERSION = b"1.1.0"
DEFAULT_TTL = 5
"""Seconds; answers follow their endpoints at once, so must those who keep them."""

_MOST_ALIASES = 8
_SVC, _POD, _NS, _DNS, _VERSION = b"svc", b"pod", b"ns", b"dns", b"dns-version"
_NOTHING: dns_records.RRsets = {}
_V4_TAIL = [b"in-addr", b"arpa"]
_V6_TAIL = [b"ip6", b"arpa"]
_HEX = frozenset("0123456789abcdef")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Found(Struct, frozen=True):
    """The zone's answer; `chase`: the name outside at which its chain of aliases goes on."""

    body: dns.Body
    chase: dns.Name | None = None


def server_address(service_cidr: str) -> str:
    """Where pods find the DNS server: the tenth address of the Service range."""
    return str(ipaddress.ip_network(service_cidr)[10])


class Zone:
    def __init__(
        self,
        domain: str,
        server: str,
        networks: Iterable[str] = (),
        ttl: int = DEFAULT_TTL,
    ) -> None:
        """`server`: the DNS server's address. `networks`: CIDRs whose reverse names are ours."""
        self.domain = dns.name(domain.lower())
        self._depth = len(dns.labels(self.domain))
        self._networks = [ipaddress.ip_network(cidr) for cidr in networks]
        self._ttl = ttl
        self._serial = 1
        self._services: dict[dns_records.Key, dns_records.ServiceRecords] = {}
        self._pointers: dict[bytes, dict[dns_records.Key, tuple[dns.Name, ...]]] = {}
        self._namespaces: set[str] = set()
        self._server = dns.name("ns.dns")[:-1] + self.domain
        kind, packed = dns.address(server)
        self._fixed: dict[tuple[bytes, ...], dns_records.RRsets] = {
            (_VERSION,): {dns.TXT: (dns.txt(SCHEMA_VERSION),)},
            (_NS, _DNS): {kind: (packed,)},
            (_DNS,): _NOTHING,
            (_SVC,): _NOTHING,
            (_POD,): _NOTHING,
        }

    # --- changing -------------------------------------------------------------------------------

    def put(self, key: dns_records.Key, records: dns_records.ServiceRecords | None) -> None:
        """What this Service has from now on; None: it is gone."""
        former = self._services.pop(key, None)
        if former is not None:
            for packed in former.pointers:
                held = self._pointers[packed]
                del held[key]
                if not held:
                    del self._pointers[packed]
        if records is not None:
            self._services[key] = records
            for packed, names in records.pointers.items():
                self._pointers.setdefault(packed, {})[key] = names
        self._serial += former != records

    def put_namespace(self, name: str, present: bool) -> None:
        (self._namespaces.add if present else self._namespaces.discard)(name)

    @property
    def services(self) -> Iterable[dns_records.Key]:
        return self._services.keys()

    # --- answering ------------------------------------------------------------------------------

    def lookup(self, question: dns.Question, turn: int = 0) -> Found | None:
        """None when the name is none of ours. `turn` rotates equal records among askers."""
        labels = dns.labels(question.name.lower())
        if labels[-self._depth :] == dns.labels(self.domain):
            return self._lookup_forward(question, labels[: -self._depth], turn)
        return self._lookup_reverse(question, labels)

    def _lookup_forward(self, question: dns.Question, labels: list[bytes], turn: int) -> Found:
        answers: list[dns.Record] = []
        owner, kind = question.name, question.type
        for _ in range(_MOST_ALIASES):
            sets = self._sets(labels)
            if sets is None:
                return self._negative(dns.NXDOMAIN, answers)
            alias = sets.get(dns.CNAME)
            if alias is None or kind in (dns.CNAME, dns.ANY):
                return self._positive(owner, kind, sets, answers, turn)
            answers.append(dns.Record(owner, dns.CNAME, self._ttl, alias[0]))
            owner = alias[0]
            labels = dns.labels(owner)
            if labels[-self._depth :] != dns.labels(self.domain):
                return Found(dns.Body(answers=tuple(answers), authoritative=True), chase=owner)
            labels = labels[: -self._depth]
        return Found(dns.Body(dns.SERVFAIL, tuple(answers), authoritative=True))

    def _positive(
        self,
        owner: dns.Name,
        kind: int,
        sets: dns_records.RRsets,
        answers: list[dns.Record],
        turn: int,
    ) -> Found:
        if kind == dns.ANY:
            # One of the sets will do (RFC 8482).
            kind = next(iter(sets), dns.ANY)
        found = sets.get(kind, ())
        if not found:
            return self._negative(dns.NOERROR, answers)
        start = turn % len(found)
        ordered = found[start:] + found[:start]
        answers += [dns.Record(owner, kind, self._ttl, rdata) for rdata in ordered]
        extra = self._targets(ordered) if kind == dns.SRV else ()
        return Found(dns.Body(answers=tuple(answers), additional=extra, authoritative=True))

    def _targets(self, services: tuple[bytes, ...]) -> tuple[dns.Record, ...]:
        """The addresses of SRV records' targets, all of which are in the zone."""
        found = []
        for target in dict.fromkeys(dns.srv_target(rdata) for rdata in services):
            sets = self._sets(dns.labels(target)[: -self._depth]) or _NOTHING
            for kind in (dns.A, dns.AAAA):
                found += [dns.Record(target, kind, self._ttl, ip) for ip in sets.get(kind, ())]
        return tuple(found)

    def _sets(self, labels: list[bytes]) -> dns_records.RRsets | None:
        """The records at a name of the cluster domain; None when there is no such name."""
        if len(labels) >= 3 and labels[-1] == _SVC:
            return self._of_service(labels)
        if not labels:
            return {dns.SOA: (self._soa(),), dns.NS: (self._server,)}
        if len(labels) == 2 and labels[1] in (_SVC, _POD):
            return _NOTHING if self._is_namespace(labels[0]) else None
        if len(labels) == 3 and labels[2] == _POD:
            return self._of_pod(labels)
        return self._fixed.get(tuple(labels))

    def _of_service(self, labels: list[bytes]) -> dns_records.RRsets | None:
        key = (_text(labels[-2]), _text(labels[-3]))
        records = self._services.get(key)
        if records is None:
            return None
        prefix = b"".join(bytes((len(each),)) + each for each in labels[:-3])
        return records.nodes.get(prefix)

    def _of_pod(self, labels: list[bytes]) -> dns_records.RRsets | None:
        ip = dns_records.labelled_address(_text(labels[0]))
        if ip is None or not self._is_namespace(labels[1]):
            return None
        kind, packed = dns.address(ip)
        return {kind: (packed,)}

    def _is_namespace(self, label: bytes) -> bool:
        return _text(label) in self._namespaces

    # --- reverse names --------------------------------------------------------------------------

    def _lookup_reverse(self, question: dns.Question, labels: list[bytes]) -> Found | None:
        asked = _reversed_network(labels)
        if asked is None:
            return None
        names: tuple[dns.Name, ...] = ()
        if asked.prefixlen == asked.max_prefixlen:
            held = self._pointers.get(asked.network_address.packed, {})
            names = tuple(name for key in sorted(held) for name in held[key])
        if names and question.type in (dns.PTR, dns.ANY):
            answers = (dns.Record(question.name, dns.PTR, self._ttl, name) for name in names)
            return Found(dns.Body(answers=tuple(answers), authoritative=True))
        ours = next((n for n in self._networks if _within(asked, n)), None)
        if ours is None:
            return None
        exists = names or asked.prefixlen < asked.max_prefixlen
        soa = dns.Record(_reverse_zone(ours), dns.SOA, self._ttl, self._soa())
        rcode = dns.NOERROR if exists else dns.NXDOMAIN
        return Found(dns.Body(rcode, authority=(soa,), authoritative=True))

    def _negative(self, rcode: int, answers: list[dns.Record]) -> Found:
        soa = dns.Record(self.domain, dns.SOA, self._ttl, self._soa())
        return Found(dns.Body(rcode, tuple(answers), (soa,), authoritative=True))

    def _soa(self) -> bytes:
        responsible = dns.name("hostmaster")[:-1] + self.domain
        return dns.soa(self._server, responsible, self._serial, self._ttl)


def _text(label: bytes) -> str:
    return label.decode("latin-1")


def _within(asked: Network, ours: Network) -> bool:
    if isinstance(asked, ipaddress.IPv4Network):
        return isinstance(ours, ipaddress.IPv4Network) and asked.subnet_of(ours)
    return isinstance(ours, ipaddress.IPv6Network) and asked.subnet_of(ours)


def _reversed_network(labels: list[bytes]) -> Network | None:
    """Of `7.0.42.10.in-addr.arpa` the address, of `42.10.in-addr.arpa` the network."""
    digits = [_text(label) for label in reversed(labels[:-2])]
    try:
        if labels[-2:] == _V4_TAIL and 0 < len(digits) <= 4:
            padded = digits + ["0"] * (4 - len(digits))
            return ipaddress.IPv4Network(f"{'.'.join(padded)}/{8 * len(digits)}")
        if labels[-2:] == _V6_TAIL and 0 < len(digits) <= 32 and all(d in _HEX for d in digits):
            number = int("".join(digits).ljust(32, "0"), 16)
            return ipaddress.IPv6Network((number, 4 * len(digits)))
    except ValueError:
        return None
    return None


def _reverse_zone(network: Network) -> dns.Name:
    """The reverse name of the network, at the next full octet (IPv6: hexadecimal digit) above."""
    if isinstance(network, ipaddress.IPv4Network):
        kept = str(network.network_address).split(".")[: network.prefixlen // 8]
        return dns.name(".".join([*reversed(kept), "in-addr.arpa"]))
    kept = list(network.network_address.exploded.replace(":", ""))[: network.prefixlen // 4]
    return dns.name(".".join([*reversed(kept), "ip6.arpa"]))
