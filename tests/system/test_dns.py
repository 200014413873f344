"""Names as programs in containers find them: busybox' nslookup and Debian's dig."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "names")


@pytest.fixture(scope="module")
def named(lab: labs.Lab) -> Iterator[labs.Lab]:
    """Services of each kind, a pod with busybox and one with dig."""
    lab.kubectl("create", "namespace", "names")
    headless = manifests.service("peers", "ClusterIP", clusterIP="None")
    headless["spec"]["ports"] = [{"name": "web", "port": 80}]
    plain = manifests.service("plain", "ClusterIP")
    plain["spec"]["ports"] = [{"name": "http", "port": 8080, "targetPort": 80}]
    plain["spec"]["selector"] = {"app": "peers"}
    outside = manifests.service("outside")
    outside["spec"] = {"type": "ExternalName", "externalName": "plain.names.svc.cluster.local"}
    tools = manifests.container() | {"image": "tools", "imagePullPolicy": "IfNotPresent"}
    peer = manifests.pod("peer", labels={"app": "peers"}, hostname="alice", subdomain="peers")
    lab.apply(
        manifests.listed(
            headless, plain, outside, peer, manifests.pod("busy"), manifests.pod("tools", tools)
        ),
        *N,
    )
    for pod in ("peer", "busy", "tools"):
        lab.wait(f"pod/{pod}", "condition=Ready", *N)
    labs.until(lambda: dig(lab, "peers.names.svc.cluster.local"), "the pod has its name")
    yield lab
    lab.kubectl("delete", "namespace", "names")


def inside(lab: labs.Lab, pod: str, *command: str) -> labs.Result:
    return lab.try_kubectl("exec", pod, *N, "--", *command)


def dig(lab: labs.Lab, *question: str) -> list[str]:
    return inside(lab, "tools", "dig", "+short", *question).stdout.splitlines()


def cluster_ip(lab: labs.Lab, name: str = "plain") -> str:
    return str(lab.get(f"svc/{name}", *N)["spec"]["clusterIP"])


@pytest.mark.parametrize("name", ["plain", "plain.names", "plain.names.svc"])
def test_a_service_by_its_short_names(named: labs.Lab, name: str) -> None:
    assert dig(named, "+search", name) == [cluster_ip(named)]


def test_busybox_looks_up_a_service(named: labs.Lab) -> None:
    found = inside(named, "busy", "nslookup", "plain.names.svc.cluster.local")
    assert found.returncode == 0
    assert cluster_ip(named) in found.stdout
    fetched = inside(named, "busy", "nslookup", "missing.names.svc.cluster.local")
    assert fetched.returncode != 0
    assert "NXDOMAIN" in fetched.stdout + fetched.stderr


def test_records_of_a_headless_service(named: labs.Lab) -> None:
    pod = named.get("pod/peer", *N)["status"]["podIP"]
    zone = "peers.names.svc.cluster.local"
    assert dig(named, zone) == [pod]
    assert dig(named, f"alice.{zone}") == [pod]
    (srv,) = dig(named, f"_web._tcp.{zone}", "SRV")
    assert srv.split()[2:] == ["80", f"alice.{zone}."]


def test_other_records(named: labs.Lab) -> None:
    zone = "names.svc.cluster.local"
    address = cluster_ip(named)
    (srv,) = dig(named, f"_http._tcp.plain.{zone}", "SRV")
    assert srv.split()[2:] == ["8080", f"plain.{zone}."]
    assert dig(named, "-x", address) == [f"plain.{zone}."]
    assert dig(named, f"outside.{zone}") == [f"plain.{zone}.", address]
    assert dig(named, f"plain.{zone}", "AAAA") == []
    assert dig(named, "+tcp", f"plain.{zone}") == [address]
    pod = named.get("pod/peer", *N)["status"]["podIP"]
    assert dig(named, f"{pod.replace('.', '-')}.names.pod.cluster.local") == [pod]


def test_dns_policies(named: labs.Lab) -> None:
    own = {"nameservers": ["192.0.2.53"], "searches": ["example.com"]}
    options = [{"name": "ndots", "value": "2"}]
    told = manifests.container("cat /etc/resolv.conf")
    cases: dict[str, labs.Object] = {
        "cluster": {},
        "host": {"hostNetwork": True},
        "both": {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
        "default": {"dnsPolicy": "Default"},
        "none": {"dnsPolicy": "None", "dnsConfig": own | {"options": options}},
    }
    pods = [
        manifests.pod(f"dns-{name}", told, restartPolicy="Never", **fields)
        for name, fields in cases.items()
    ]
    named.apply(manifests.listed(*pods), *N)
    seen = {}
    for name in cases:
        named.wait(f"pod/dns-{name}", "jsonpath={.status.phase}=Succeeded", *N)
        seen[name] = named.kubectl("logs", f"dns-{name}", *N).splitlines()
    assert "nameserver 10.43.0.10" in seen["cluster"]
    assert "options ndots:5" in seen["cluster"]
    assert seen["cluster"][0].startswith("search names.svc.cluster.local svc.cluster.local cluster")
    assert "nameserver 10.43.0.10" in seen["both"]
    assert "nameserver 10.43.0.10" not in seen["host"]
    assert "nameserver 10.43.0.10" not in seen["default"]
    assert seen["none"] == ["search example.com", "nameserver 192.0.2.53", "options ndots:2"]
