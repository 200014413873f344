"""The records of the Kubernetes DNS specification 1.1.0, and what is said of names without any."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from edgeorch.core import dns_records, dns_zone
from edgeorch.lib import json
from edgeorch.model import views
from edgeorch.wire import dns

DOMAIN = "cluster.local"
SERVER = "10.43.0.10"
TYPES = {
    "A": dns.A,
    "AAAA": dns.AAAA,
    "SRV": dns.SRV,
    "PTR": dns.PTR,
    "CNAME": dns.CNAME,
    "TXT": dns.TXT,
    "NS": dns.NS,
    "SOA": dns.SOA,
    "ANY": dns.ANY,
}


Made = tuple[views.Service, list[views.EndpointSlice]]


def service(name: str, **spec: Any) -> views.Service:
    meta = {"name": name, "namespace": spec.pop("namespace", "default")}
    return views.decode(json.encode({"metadata": meta, "spec": spec}), views.Service)


def endpoint(ip: str, hostname: str = "", *, ready: bool | None = True) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": {"ready": ready}, "hostname": hostname}


def endpoint_slice(
    *endpoints: dict[str, Any], ports: tuple[tuple[str, str, int], ...] = (), family: str = "IPv4"
) -> views.EndpointSlice:
    listed = [{"name": name, "protocol": proto, "port": port} for name, proto, port in ports]
    obj = {
        "metadata": {"name": "s"},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": listed,
    }
    return views.decode(json.encode(obj), views.EndpointSlice)


WEB: Made = (
    service(
        "web",
        type="ClusterIP",
        clusterIP="10.43.7.1",
        clusterIPs=["10.43.7.1", "fd00:43::1"],
        ports=[
            {"name": "http", "port": 80, "protocol": "TCP"},
            {"name": "quic", "port": 443, "protocol": "UDP"},
        ],
    ),
    [endpoint_slice(endpoint("10.42.0.5"), endpoint("10.42.0.6", "named"))],
)
UNNAMED: Made = (
    service("unnamed", clusterIP="10.43.7.2", ports=[{"port": 9, "protocol": "TCP"}]),
    [],
)
DB_PORTS = (("pg", "TCP", 5432), ("metrics", "TCP", 9187))
DB: Made = (
    service("db", clusterIP="None", ports=[{"name": "pg", "port": 5432, "protocol": "TCP"}]),
    [
        endpoint_slice(
            endpoint("10.42.0.20", "db-0"),
            endpoint("10.42.0.21", "db-1"),
            endpoint("10.42.0.22", "db-2", ready=False),
            ports=DB_PORTS,
        ),
        endpoint_slice(endpoint("10.42.0.23", ready=None), ports=DB_PORTS),
        endpoint_slice(endpoint("fd00::7", "db-0"), ports=DB_PORTS, family="IPv6"),
        endpoint_slice(endpoint("fd00::"), ports=DB_PORTS, family="IPv6"),
    ],
)
EARLY: Made = (
    service("early", clusterIP="None", publishNotReadyAddresses=True),
    [endpoint_slice(endpoint("10.42.0.30", "early-0", ready=False))],
)
NOBODY: Made = (
    service("nobody", clusterIP="None"),
    [endpoint_slice(endpoint("10.42.0.31", "nobody-0", ready=False))],
)
OUTSIDE: Made = (service("outside", type="ExternalName", externalName="www.Example.COM"), [])
ALIAS: Made = (
    service("alias", type="ExternalName", externalName="web.default.svc.cluster.local"),
    [],
)
DANGLING: Made = (service("dangling", type="ExternalName", externalName="no.svc.cluster.local"), [])
LOOP: Made = (
    service("loop", type="ExternalName", externalName="pool.default.svc.cluster.local"),
    [],
)
POOL: Made = (
    service("pool", type="ExternalName", externalName="loop.default.svc.cluster.local"),
    [],
)
OTHER: Made = (
    service("web", namespace="prod", clusterIP="10.43.7.9", ports=[{"name": "http", "port": 80}]),
    [],
)
ALL = (WEB, UNNAMED, DB, EARLY, NOBODY, OUTSIDE, ALIAS, DANGLING, LOOP, POOL, OTHER)


@pytest.fixture
def zone() -> dns_zone.Zone:
    made = dns_zone.Zone(DOMAIN, SERVER, ["10.42.0.0/24", "10.43.0.0/16"])
    for name in ("default", "prod", "empty"):
        made.put_namespace(name, True)
    for found, slices in ALL:
        put(made, found, slices)
    return made


def put(zone: dns_zone.Zone, found: views.Service, slices: list[views.EndpointSlice]) -> None:
    key = (found.metadata.namespace, found.metadata.name)
    zone.put(key, dns_records.service_records(found, slices, zone.domain))


def ask(zone: dns_zone.Zone, name: str, kind: str) -> dns_zone.Found:
    found = zone.lookup(dns.Question(dns.name(name), TYPES[kind]))
    assert found is not None, f"{name} is taken for somebody else's"
    return found


def shown(record: dns.Record) -> str:
    """As in a zone file, without name, TTL and class."""
    raw = record.rdata
    if record.type in (dns.A, dns.AAAA):
        return str(ipaddress.ip_address(raw))
    if record.type == dns.SRV:
        port = int.from_bytes(raw[4:6], "big")
        return f"{port} {dns.text(dns.srv_target(raw))}"
    if record.type == dns.TXT:
        return raw[1:].decode()
    return dns.text(raw)


def answers(zone: dns_zone.Zone, name: str, kind: str) -> list[str]:
    body = ask(zone, name, kind).body
    assert body.rcode == dns.NOERROR
    assert body.authoritative
    return sorted(shown(record) for record in body.answers)


POSITIVE = [
    # 2.2 schema version
    ("dns-version.cluster.local", "TXT", ["1.1.0"]),
    # 2.3 ClusterIP
    ("web.default.svc.cluster.local", "A", ["10.43.7.1"]),
    ("web.default.svc.cluster.local.", "AAAA", ["fd00:43::1"]),
    ("web.prod.svc.cluster.local", "A", ["10.43.7.9"]),
    ("WEB.Default.SVC.cluster.LOCAL", "A", ["10.43.7.1"]),
    ("_http._tcp.web.default.svc.cluster.local", "SRV", ["80 web.default.svc.cluster.local"]),
    ("_quic._udp.web.default.svc.cluster.local", "SRV", ["443 web.default.svc.cluster.local"]),
    ("_HTTP._TCP.web.default.svc.cluster.local", "SRV", ["80 web.default.svc.cluster.local"]),
    ("unnamed.default.svc.cluster.local", "A", ["10.43.7.2"]),
    ("1.7.43.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local"]),
    (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.0.0.0.0.d.f.ip6.arpa",
        "PTR",
        ["web.default.svc.cluster.local"],
    ),
    # an endpoint of a Service with a ClusterIP, as CoreDNS has it
    ("named.web.default.svc.cluster.local", "A", ["10.42.0.6"]),
    ("10-42-0-5.web.default.svc.cluster.local", "A", ["10.42.0.5"]),
    # 2.4 headless
    ("db.default.svc.cluster.local", "A", ["10.42.0.20", "10.42.0.21", "10.42.0.23"]),
    ("db.default.svc.cluster.local", "AAAA", ["fd00::", "fd00::7"]),
    ("db-0.db.default.svc.cluster.local", "A", ["10.42.0.20"]),
    ("db-0.db.default.svc.cluster.local", "AAAA", ["fd00::7"]),
    ("DB-1.db.default.svc.cluster.local", "A", ["10.42.0.21"]),
    ("10-42-0-23.db.default.svc.cluster.local", "A", ["10.42.0.23"]),
    ("fd00--0.db.default.svc.cluster.local", "AAAA", ["fd00::"]),
    (
        "_pg._tcp.db.default.svc.cluster.local",
        "SRV",
        [
            "5432 10-42-0-23.db.default.svc.cluster.local",
            "5432 db-0.db.default.svc.cluster.local",
            "5432 db-1.db.default.svc.cluster.local",
            "5432 fd00--0.db.default.svc.cluster.local",
        ],
    ),
    ("20.0.42.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local"]),
    ("23.0.42.10.in-addr.arpa", "PTR", ["10-42-0-23.db.default.svc.cluster.local"]),
    ("early.default.svc.cluster.local", "A", ["10.42.0.30"]),
    ("early-0.early.default.svc.cluster.local", "A", ["10.42.0.30"]),
    # 2.5 ExternalName
    ("outside.default.svc.cluster.local", "CNAME", ["www.example.com"]),
    ("outside.default.svc.cluster.local", "A", ["www.example.com"]),
    ("alias.default.svc.cluster.local", "A", ["10.43.7.1", "web.default.svc.cluster.local"]),
    # 2.6 pods
    ("10-42-0-77.default.pod.cluster.local", "A", ["10.42.0.77"]),
    ("fd00--7.default.pod.cluster.local", "AAAA", ["fd00::7"]),
    # the zone itself
    ("cluster.local", "NS", ["ns.dns.cluster.local"]),
    ("ns.dns.cluster.local", "A", [SERVER]),
    ("web.default.svc.cluster.local", "ANY", ["10.43.7.1"]),
]


@pytest.mark.parametrize(
    ("name", "kind", "wanted"), POSITIVE, ids=[f"{kind} {name}" for name, kind, _ in POSITIVE]
)
def test_records_of_the_specification(
    zone: dns_zone.Zone, name: str, kind: str, wanted: list[str]
) -> None:
    assert answers(zone, name, kind) == wanted


NEGATIVE = [
    # there, but not of this type
    ("web.prod.svc.cluster.local", "AAAA", dns.NOERROR),
    ("web.default.svc.cluster.local", "TXT", dns.NOERROR),
    ("_http._tcp.web.default.svc.cluster.local", "A", dns.NOERROR),
    ("_tcp.web.default.svc.cluster.local", "SRV", dns.NOERROR),
    ("10-42-0-77.default.pod.cluster.local", "AAAA", dns.NOERROR),
    ("cluster.local", "A", dns.NOERROR),
    ("svc.cluster.local", "A", dns.NOERROR),
    ("pod.cluster.local", "A", dns.NOERROR),
    ("dns.cluster.local", "A", dns.NOERROR),
    ("default.svc.cluster.local", "A", dns.NOERROR),
    ("empty.svc.cluster.local", "A", dns.NOERROR),
    ("default.pod.cluster.local", "A", dns.NOERROR),
    ("1.7.43.10.in-addr.arpa", "A", dns.NOERROR),
    ("43.10.in-addr.arpa", "PTR", dns.NOERROR),
    # not there
    ("nobody.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("nobody-0.nobody.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("db-2.db.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("absent.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("web.absent.svc.cluster.local", "A", dns.NXDOMAIN),
    ("absent.svc.cluster.local", "A", dns.NXDOMAIN),
    ("x.web.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("_http._udp.web.default.svc.cluster.local", "SRV", dns.NXDOMAIN),
    ("_._tcp.unnamed.default.svc.cluster.local", "SRV", dns.NXDOMAIN),
    ("10-42-0-77.absent.pod.cluster.local", "A", dns.NXDOMAIN),
    ("10-42-0-777.default.pod.cluster.local", "A", dns.NXDOMAIN),
    ("a.10-42-0-7.default.pod.cluster.local", "A", dns.NXDOMAIN),
    ("db.default.cluster.local", "A", dns.NXDOMAIN),
    ("example.com.cluster.local", "A", dns.NXDOMAIN),
    ("example.com.svc.cluster.local", "A", dns.NXDOMAIN),
    ("example.com.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("dangling.default.svc.cluster.local", "A", dns.NXDOMAIN),
    ("22.0.42.10.in-addr.arpa", "PTR", dns.NXDOMAIN),
    ("5.0.42.10.in-addr.arpa", "PTR", dns.NXDOMAIN),
    ("9.9.43.10.in-addr.arpa", "PTR", dns.NXDOMAIN),
]


@pytest.mark.parametrize(
    ("name", "kind", "rcode"), NEGATIVE, ids=[f"{kind} {name}" for name, kind, _ in NEGATIVE]
)
def test_names_without_records(zone: dns_zone.Zone, name: str, kind: str, rcode: int) -> None:
    found = ask(zone, name, kind)
    assert found.body.rcode == rcode
    assert found.chase is None
    assert [r for r in found.body.answers if r.type != dns.CNAME] == []
    (soa,) = found.body.authority
    assert soa.type == dns.SOA
    assert dns.name(name).lower().endswith(soa.name)
    assert soa.ttl == dns.soa_minimum(soa.rdata) == dns_zone.DEFAULT_TTL


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "local",
        "notcluster.local",
        "xcluster.local",
        "1.0.0.127.in-addr.arpa",
        "5.1.42.10.in-addr.arpa",
        "10.in-addr.arpa",
        "in-addr.arpa",
        "x.42.10.in-addr.arpa",
        "1_0._.ip6.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
        "",
    ],
)
def test_names_of_others(zone: dns_zone.Zone, name: str) -> None:
    assert zone.lookup(dns.Question(dns.name(name), dns.A)) is None


def test_reverse_names_of_known_addresses_outside_the_ranges_are_answered(
    zone: dns_zone.Zone,
) -> None:
    found, slices = (
        service("legacy", clusterIP="None"),
        [endpoint_slice(endpoint("192.0.2.7", "old"))],
    )
    put(zone, found, slices)
    wanted = ["old.legacy.default.svc.cluster.local"]
    assert answers(zone, "7.2.0.192.in-addr.arpa", "PTR") == wanted
    assert zone.lookup(dns.Question(dns.name("7.2.0.192.in-addr.arpa"), dns.A)) is None


def test_an_address_in_two_headless_services_has_both_names(zone: dns_zone.Zone) -> None:
    put(
        zone,
        service("db-read", clusterIP="None"),
        [endpoint_slice(endpoint("10.42.0.20", "db-0"))],
    )
    assert answers(zone, "20.0.42.10.in-addr.arpa", "PTR") == [
        "db-0.db-read.default.svc.cluster.local",
        "db-0.db.default.svc.cluster.local",
    ]


def test_srv_brings_the_addresses_of_its_targets(zone: dns_zone.Zone) -> None:
    body = ask(zone, "_pg._tcp.db.default.svc.cluster.local", "SRV").body
    extra = {(dns.text(r.name), shown(r)) for r in body.additional}
    assert ("db-0.db.default.svc.cluster.local", "10.42.0.20") in extra
    assert ("db-0.db.default.svc.cluster.local", "fd00::7") in extra
    assert len(extra) == 5


def test_the_services_own_name_has_all_ports(zone: dns_zone.Zone) -> None:
    assert answers(zone, "web.default.svc.cluster.local", "SRV") == [
        "443 web.default.svc.cluster.local",
        "80 web.default.svc.cluster.local",
    ]


def test_an_alias_that_leads_outside_is_to_be_followed(zone: dns_zone.Zone) -> None:
    found = ask(zone, "outside.default.svc.cluster.local", "A")
    assert found.chase == dns.name("www.example.com")
    assert ask(zone, "outside.default.svc.cluster.local", "CNAME").chase is None


def test_aliases_in_a_circle_fail(zone: dns_zone.Zone) -> None:
    assert ask(zone, "loop.default.svc.cluster.local", "A").body.rcode == dns.SERVFAIL


def test_answers_rotate(zone: dns_zone.Zone) -> None:
    question = dns.Question(dns.name("db.default.svc.cluster.local"), dns.A)
    seen = set()
    for turn in range(3):
        found = zone.lookup(question, turn)
        assert found is not None
        seen.add(shown(found.body.answers[0]))
    assert seen == {"10.42.0.20", "10.42.0.21", "10.42.0.23"}


def test_owner_names_are_as_asked(zone: dns_zone.Zone) -> None:
    body = ask(zone, "Web.Default.svc.cluster.local", "A").body
    assert dns.text(body.answers[0].name) == "Web.Default.svc.cluster.local"


def test_a_changed_service_leaves_nothing_behind(zone: dns_zone.Zone) -> None:
    before = serial(zone)
    put(zone, service("web", clusterIP="10.43.7.5"), [])
    assert answers(zone, "web.default.svc.cluster.local", "A") == ["10.43.7.5"]
    assert ask(zone, "1.7.43.10.in-addr.arpa", "PTR").body.rcode == dns.NXDOMAIN
    assert serial(zone) > before
    zone.put(("default", "web"), None)
    assert ask(zone, "web.default.svc.cluster.local", "A").body.rcode == dns.NXDOMAIN
    assert ask(zone, "5.7.43.10.in-addr.arpa", "PTR").body.rcode == dns.NXDOMAIN
    assert answers(zone, "web.prod.svc.cluster.local", "A") == ["10.43.7.9"]


def serial(zone: dns_zone.Zone) -> int:
    (soa,) = ask(zone, DOMAIN, "SOA").body.answers
    return int.from_bytes(soa.rdata[-20:-16], "big")


def test_a_namespace_that_is_gone(zone: dns_zone.Zone) -> None:
    zone.put_namespace("empty", False)
    assert ask(zone, "empty.svc.cluster.local", "A").body.rcode == dns.NXDOMAIN


@pytest.mark.parametrize(
    ("cidr", "owner"),
    [
        ("10.42.0.0/24", "0.42.10.in-addr.arpa"),
        ("10.43.0.0/16", "43.10.in-addr.arpa"),
        ("10.40.0.0/12", "10.in-addr.arpa"),
        ("10.42.3.16/28", "3.42.10.in-addr.arpa"),
        ("fd00:42::/64", "0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa"),
    ],
)
def test_the_soa_of_a_range(cidr: str, owner: str) -> None:
    network = ipaddress.ip_network(cidr, strict=False)
    made = dns_zone.Zone(DOMAIN, SERVER, [str(network)])
    body = ask(made, network[1].reverse_pointer, "PTR").body
    assert [dns.text(record.name) for record in body.authority] == [owner]


def test_a_domain_of_another_depth() -> None:
    made = dns_zone.Zone("Edge", SERVER)
    put(made, *WEB)
    assert answers(made, "web.default.svc.edge", "A") == ["10.43.7.1"]
    assert made.lookup(dns.Question(dns.name("web.default.svc.cluster.local"), dns.A)) is None


def test_the_servers_address_is_the_tenth() -> None:
    assert dns_zone.server_address("10.43.0.0/16") == "10.43.0.10"
