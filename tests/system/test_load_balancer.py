"""Services of type LoadBalancer: the device's own addresses, or those of a configured pool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from . import lab as labs
from . import manifests
from .test_host_ports import served

POOL = ("198.51.100.40", "198.51.100.41")


def balanced(name: str, port: int = 80, **fields: object) -> labs.Object:
    found = manifests.service(name, "LoadBalancer", port, **fields)
    found["spec"]["selector"] = {"app": "web"}
    return found


def web(lab: labs.Lab, *n: str) -> None:
    lab.apply(manifests.deployment("web", manifests.container(manifests.NAMES)), *n)
    lab.rollout("deploy/web", *n)


def ingress(lab: labs.Lab, name: str, *n: str) -> list[str]:
    found = lab.get(f"svc/{name}", *n)["status"]["loadBalancer"].get("ingress", [])
    return [entry["ip"] for entry in found]


def test_the_devices_own_address(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    web(lab, *n)
    lab.apply(balanced("one", 18090), *n)
    labs.until(lambda: ingress(lab, "one", *n) == [lab.address], "the device's address")
    labs.until(lambda: served(lab, lab.address, 18090, lan=True), "it answers its neighbour")
    assert lab.address in lab.kubectl("get", "svc", "one", *n)
    # The port is taken: the second waits, says why, and gets it when the first goes.
    lab.apply(balanced("two", 18090, allocateLoadBalancerNodePorts=False), *n)
    event = labs.until(
        lambda: [
            e["message"]
            for e in lab.items("events", *n)
            if e["reason"] == "SyncLoadBalancerFailed" and e["involvedObject"]["name"] == "two"
        ],
        "an event",
    )
    assert f"port 18090/TCP is taken by Service {namespace}/one" in event[0]
    assert ingress(lab, "two", *n) == []
    assert "nodePort" not in lab.get("svc/two", *n)["spec"]["ports"][0]
    lab.kubectl("delete", "svc", "one", *n)
    labs.until(lambda: ingress(lab, "two", *n) == [lab.address], "the port has passed")
    labs.until(lambda: served(lab, lab.address, 18090, lan=True), "and is served")


def test_the_api_s_port_is_not_taken_over(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(listed := manifests.listed(balanced("greedy", 6443), balanced("meek", 18091)), *n)
    assert len(listed["items"]) == 2
    labs.until(lambda: ingress(lab, "meek", *n), "the other has its address")
    assert ingress(lab, "greedy", *n) == []


def test_somebody_elses_class_is_left_alone(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    other = balanced("other", 18092, loadBalancerClass="example.com/theirs")
    lab.apply(manifests.listed(other, balanced("ours", 18093)), *n)
    labs.until(lambda: ingress(lab, "ours", *n), "ours has its address")
    assert ingress(lab, "other", *n) == []


def test_source_ranges_keep_others_out(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    web(lab, *n)
    lab.apply(balanced("closed", 18094, loadBalancerSourceRanges=["203.0.113.0/24"]), *n)
    labs.until(lambda: served(lab, lab.address, 18094), "the device itself is let in")
    with pytest.raises(TimeoutError):
        lab.fetch(lab.address, 18094, lan=True)
    everybody = {"spec": {"loadBalancerSourceRanges": ["198.18.0.0/15", "203.0.113.0/24"]}}
    lab.kubectl("patch", "svc", "closed", "-p", json.dumps(everybody), *n)
    labs.until(lambda: served(lab, lab.address, 18094, lan=True), "the neighbour is let in")


def test_the_health_check_port_tells_of_local_endpoints(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    web(lab, *n)
    lab.apply(balanced("local", 18095, externalTrafficPolicy="Local"), *n)
    port = lab.get("svc/local", *n)["spec"]["healthCheckNodePort"]

    def status() -> str:
        url = f"http://{lab.address}:{port}/"
        asked = lab.from_lan("curl", "-s", "-w", " %{http_code}", url, check=False)
        return asked.stdout

    labs.until(lambda: status().endswith(" 200"), "healthy")
    told = json.loads(status().rpartition(" ")[0])
    assert told["service"] == {"namespace": namespace, "name": "local"}
    assert told["localEndpoints"] == 1
    lab.kubectl("scale", "deploy/web", "--replicas=0", *n)
    labs.until(lambda: status().endswith(" 503"), "unhealthy without endpoints")
    lab.kubectl("delete", "svc", "local", *n)
    labs.until(lambda: not status().endswith(("200", "503")), "nobody listens any more")


def test_addresses_of_a_pool(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "pool.yaml"
    config.write_text(json.dumps({"network": {"load_balancer_pool": [f"{POOL[0]}-{POOL[1]}"]}}))
    lab = new_lab("--config", str(config), load=(images["busybox-latest"],))
    link = json.loads(lab.from_lan("ip", "-j", "route", "get", lab.address).stdout)[0]["dev"]
    for address in POOL:
        lab.from_lan("ip", "route", "add", f"{address}/32", "dev", link)
    web(lab)
    lab.apply(manifests.listed(balanced("any"), balanced("chosen", loadBalancerIP=POOL[1])))
    labs.until(lambda: ingress(lab, "any") + ingress(lab, "chosen") == list(POOL), "addresses")
    for address in POOL:
        labs.until(lambda a=address: served(lab, a, 80, lan=True), f"{address} answers")  # type: ignore[misc]
    # The node's own address is what it was.
    (node,) = lab.items("nodes")
    assert {"type": "InternalIP", "address": lab.address} in node["status"]["addresses"]
    lab.kubectl("delete", "svc", "any")
    labs.until(lambda: POOL[0] not in lab.run("ip", "-br", "address").stdout, "it is given back")
    labs.until(lambda: not served(lab, POOL[0], 80, lan=True), "and answers no more")
    assert served(lab, POOL[1], 80, lan=True)
