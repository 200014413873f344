"""Services in unusual states: pods that are not ready or on their way out, endpoints by hand."""

from __future__ import annotations

import json

from . import lab as labs
from . import manifests
from .test_host_ports import served
from .test_services import from_pod

OUTSIDE = "198.51.100.77"

# Goes on serving for as long as its grace period lasts.
STAYS = {"preStop": {"exec": {"command": ["sleep", "60"]}}}


def server(name: str, **fields: object) -> labs.Object:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    main = manifests.container(manifests.NAMES, readinessProbe=probe, lifecycle=STAYS)
    labels = {"app": "edges", "only": name}
    return manifests.pod(name, main, labels=labels, terminationGracePeriodSeconds=60, **fields)


def test_pods_that_come_and_go(lab: labs.Lab, namespace: str) -> None:
    """Unready ones are published where asked for; a terminating one is the last resort."""
    n = ("-n", namespace)
    early = manifests.service("early", "ClusterIP", publishNotReadyAddresses=True)
    peers = manifests.service("peers", "ClusterIP", clusterIP="None", publishNotReadyAddresses=True)
    strict = manifests.service("strict", "ClusterIP", sessionAffinity="ClientIP")
    config = {"clientIP": {"timeoutSeconds": 2}}
    strict["spec"]["sessionAffinityConfig"] = config
    for each in (early, peers, strict):
        each["spec"]["selector"] = {"app": "edges"}
    one = server("one", hostname="one", subdomain="peers")
    tools = manifests.container() | {"image": "tools", "imagePullPolicy": "IfNotPresent"}
    lab.apply(manifests.listed(early, peers, strict, one, manifests.pod("tools", tools)), *n)
    for pod, until in (("one", "jsonpath={.status.phase}=Running"), ("tools", "condition=Ready")):
        lab.wait(f"pod/{pod}", until, *n)
    at = {name: lab.get(f"svc/{name}", *n)["spec"]["clusterIP"] for name in ("early", "strict")}
    ip = lab.get("pod/one", *n)["status"]["podIP"]

    labs.until(lambda: served(lab, at["early"], 80) == "one", "the unready pod is published")
    assert not served(lab, at["strict"], 80)
    name = f"one.peers.{namespace}.svc.cluster.local"
    dig = ("exec", "tools", *n, "--", "dig", "+short")
    assert lab.kubectl(*dig, name).split() == [ip]
    assert lab.kubectl(*dig, "-x", ip).split() == [f"{name}."]

    lab.kubectl("exec", "one", *n, "--", "touch", "/tmp/ready")
    labs.until(lambda: served(lab, at["strict"], 80) == "one", "the ready pod is reached")
    table = lab.run("nft", "list", "table", "ip", "edgeorch").stdout
    assert f"aff-2s-{namespace}/strict/tcp" in table
    lab.kubectl("delete", "pod", "one", *n, "--wait=false")
    labs.until(lambda: _conditions(lab, "strict", *n) == [(False, True, True)], "it terminates")
    assert {served(lab, at["strict"], 80) for _ in range(20)} == {"one"}

    # Another that is ready takes over, whoever the client was bound to.
    lab.apply(server("two"), *n)
    lab.wait("pod/two", "jsonpath={.status.phase}=Running", *n)
    lab.kubectl("exec", "two", *n, "--", "touch", "/tmp/ready")
    labs.until(lambda: served(lab, at["strict"], 80) == "two", "the other takes over")
    assert {served(lab, at["strict"], 80) for _ in range(20)} == {"two"}
    # Where readiness does not count, one that terminates is as good as any.
    labs.until(lambda: {served(lab, at["early"], 80) for _ in range(20)} == {"one", "two"}, "both")
    # Nobody there listens to SIGTERM: without a shorter grace period they would take a minute.
    lab.kubectl("delete", "pods", "one", "two", *n, "--grace-period=1")


def _conditions(lab: labs.Lab, service: str, *n: str) -> list[tuple[bool, bool, bool]]:
    slices = lab.items("endpointslices", "-l", f"kubernetes.io/service-name={service}", *n)
    found = [each["conditions"] for piece in slices for each in piece.get("endpoints") or []]
    return [(each["ready"], each["serving"], each["terminating"]) for each in found]


def test_endpoint_slices_by_hand_and_external_addresses(lab: labs.Lab, namespace: str) -> None:
    """A Service without selector leads, port by port, where its slices say, also from outside."""
    n = ("-n", namespace)
    lab.apply(manifests.pod("web", manifests.container(manifests.NAMES)), *n)
    lab.wait("pod/web", "condition=Ready", *n)
    ports = [{"name": "a", "port": 8081}, {"name": "b", "port": 8082}, {"name": "c", "port": 8083}]
    service = manifests.service("hand", "ClusterIP", ports=ports, externalIPs=[OUTSIDE])
    del service["spec"]["selector"]
    ip = lab.get("pod/web", *n)["status"]["podIP"]
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "hand-1", "labels": {"kubernetes.io/service-name": "hand"}},
        "addressType": "IPv4",
        "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
        "endpoints": [{"addresses": [ip]}],
    }
    lab.apply(manifests.listed(service, piece), *n)
    address = lab.get("svc/hand", *n)["spec"]["clusterIP"]
    labs.until(lambda: served(lab, address, 8081) == "web", "it answers")
    assert from_pod(lab, f"curl -s http://{OUTSIDE}:8081/", "web", namespace).strip() == "web"
    for port in (8082, 8083):
        assert not served(lab, address, port)  # nobody listens there; no such port in the slice
    link = json.loads(lab.from_lan("ip", "-j", "route", "get", lab.address).stdout)[0]["dev"]
    lab.from_lan("ip", "route", "add", f"{OUTSIDE}/32", "via", lab.address, "dev", link)
    try:
        labs.until(lambda: served(lab, OUTSIDE, 8081, lan=True) == "web", "from the neighbour too")
    finally:
        lab.from_lan("ip", "route", "del", f"{OUTSIDE}/32")
    # The slice is the user's: what it says is followed, and it stays when the Service goes.
    unready = {"endpoints": [{"addresses": [ip], "conditions": {"ready": False}}]}
    lab.kubectl("patch", "endpointslice", "hand-1", "--type=merge", "-p", json.dumps(unready), *n)
    labs.until(lambda: not served(lab, address, 8081), "refused")
    lab.kubectl("delete", "svc", "hand", *n)
    assert lab.get("endpointslice/hand-1", *n)["metadata"]["name"] == "hand-1"


def test_what_is_kept_but_not_enforced_says_so(lab: labs.Lab, namespace: str) -> None:
    """NetworkPolicy and Ingress are stored and served, with a warning; families that the device
    does not have are refused."""
    n = ("-n", namespace)
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
    }
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "front"},
        "spec": {"rules": [{"host": "a.example", "http": {"paths": paths}}]},
    }
    for obj in (policy, ingress):
        told = lab.try_kubectl("apply", "-f", "-", *n, stdin=obj)
        assert told.returncode == 0
        warning = f"Warning: {obj['kind']}: kept, but edgeorch does not act on this kind"
        assert warning in told.stderr
    kept = lab.get("networkpolicy/closed", *n)["spec"]
    assert kept == policy["spec"] | {"policyTypes": ["Ingress"]}  # type: ignore[operator]
    assert lab.get("ingress/front", *n)["spec"] == ingress["spec"]
    assert "a.example" in lab.kubectl("get", "ingress", *n)

    both = manifests.service("both", "ClusterIP", ipFamilyPolicy="RequireDualStack")
    told = lab.try_kubectl("create", "-f", "-", *n, stdin=both)
    assert told.returncode == 1
    assert "this cluster is not configured for dual-stack services" in told.stderr
    prefers = manifests.service("prefers", "ClusterIP", ipFamilyPolicy="PreferDualStack")
    lab.apply(prefers, *n)
    assert lab.get("svc/prefers", *n)["spec"]["ipFamilies"] == ["IPv4"]
