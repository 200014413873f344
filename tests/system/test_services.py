"""Services: every door to them, spread over the pods, refusal where nobody answers."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "services")


@pytest.fixture(scope="module")
def names(lab: labs.Lab) -> Iterator[labs.Object]:
    """A Service of three pods, each of which answers with its name."""
    lab.kubectl("create", "namespace", "services")
    server = server_container()
    service = manifests.service("names")
    service["spec"]["ports"] = [{"name": "web", "port": 8080, "targetPort": "http"}]
    lab.apply(manifests.listed(manifests.deployment("names", server, replicas=3), service), *N)
    lab.apply(manifests.pod("client"), *N)
    lab.rollout("deploy/names", *N)
    lab.wait("pod/client", "condition=Ready", *N)
    yield lab.get("svc/names", *N)
    lab.kubectl("delete", "namespace", "services")


def server_container() -> labs.Object:
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    ports = [{"containerPort": 80, "name": "http"}]
    return manifests.container(manifests.NAMES, ports=ports, readinessProbe=probe)


def node_port(service: labs.Object) -> int:
    return int(service["spec"]["ports"][0]["nodePort"])


def from_pod(lab: labs.Lab, script: str, pod: str = "client", namespace: str = "services") -> str:
    """What a shell script prints in a pod's network."""
    netns = pod_netns(lab, pod, namespace)
    full, env = lab.command("sh", "-c", script)
    full[1] = f"--net={netns}"
    return labs.call(full, env=env).stdout


def pod_netns(lab: labs.Lab, pod: str, namespace: str) -> str:
    uid = lab.get("pod", pod, "-n", namespace)["metadata"]["uid"]
    found = [path for path in (lab.device.run / "edgeorch/netns").iterdir() if uid in path.name]
    assert len(found) == 1
    return str(found[0])


def spread(lab: labs.Lab, address: str, port: int, *, lan: bool = False) -> Counter[bytes]:
    return Counter(lab.fetch(address, port, lan=lan).strip() for _ in range(60))


def test_node_port_spreads_over_the_replicas(lab: labs.Lab, names: labs.Object) -> None:
    pods = {p["metadata"]["name"].encode() for p in lab.items("pods", "-l", "app=names", *N)}
    for address, lan in (("127.0.0.1", False), (lab.address, False), (lab.address, True)):
        seen = spread(lab, address, node_port(names), lan=lan)
        assert set(seen) == pods
        # 60 draws of one in three: fewer than 5 of one is a chance below one in 20,000.
        assert min(seen.values()) >= 5


def test_cluster_ip_answers_the_node_and_pods(lab: labs.Lab, names: labs.Object) -> None:
    address = names["spec"]["clusterIP"]
    assert len(spread(lab, address, 8080)) == 3
    code = (
        "import json, urllib.request as u;"
        f"ask = lambda: u.urlopen('http://{address}:8080/').read().decode().strip();"
        "print(json.dumps([ask() for _ in range(60)]))"
    )
    seen = Counter(json.loads(from_pod(lab, f'python3 -c "{code}"')))
    assert len(seen) == 3
    assert min(seen.values()) >= 5


def test_a_pod_reaches_itself_through_its_service(lab: labs.Lab, names: labs.Object) -> None:
    lab.apply(
        manifests.listed(
            manifests.pod(
                "selfish", manifests.container(manifests.NAMES), labels={"app": "selfish"}
            ),
            manifests.service("selfish", "ClusterIP"),
        ),
        *N,
    )
    lab.wait("pod/selfish", "condition=Ready", *N)
    address = lab.get("svc/selfish", *N)["spec"]["clusterIP"]
    labs.until(lambda: _answers(lab, address, 80), "the Service answers")
    code = f"import urllib.request as u; print(u.urlopen('http://{address}/').read().decode())"
    assert from_pod(lab, f'python3 -c "{code}"', "selfish").strip() == "selfish"


def _answers(lab: labs.Lab, address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(lab.fetch(address, port))
    return False


def test_a_container_reaches_a_service_and_another_pod(lab: labs.Lab, names: labs.Object) -> None:
    other = lab.items("pods", "-l", "app=names", *N)[0]
    service = f"http://{names['spec']['clusterIP']}:8080/"
    pod = f"http://{other['status']['podIP']}/"
    script = f"wget -q -O - {service}; wget -q -O - {pod}"
    lab.apply(manifests.once("asks", script), *N)
    lab.wait("pod/asks", "jsonpath={.status.phase}=Succeeded", *N)
    told = lab.kubectl("logs", "asks", *N).split()
    assert told[0].startswith("names-")
    assert told[1] == other["metadata"]["name"]


def test_the_kubernetes_service_leads_to_the_api(lab: labs.Lab, names: labs.Object) -> None:
    service = lab.get("svc/kubernetes")
    assert service["spec"]["clusterIP"] == "10.43.0.1"
    code = (
        "import ssl, urllib.request as u;"
        "c = ssl._create_unverified_context();"
        "print(u.urlopen('https://10.43.0.1/readyz', context=c).status)"
    )
    assert from_pod(lab, f'python3 -c "{code}" 2>&1 || true').strip().endswith(("200", "401"))
    wanted = ("KUBERNETES_SERVICE_HOST=10.43.0.1", "KUBERNETES_SERVICE_PORT=443")
    lab.apply(manifests.once("env", "env"), *N)
    lab.wait("pod/env", "jsonpath={.status.phase}=Succeeded", *N)
    told = lab.kubectl("logs", "env", *N).splitlines()
    assert set(wanted) <= set(told)
    # Service links: the Services of the pod's own namespace.
    assert f"NAMES_SERVICE_HOST={names['spec']['clusterIP']}" in told
    assert "NAMES_SERVICE_PORT_WEB=8080" in told


def refused(lab: labs.Lab, address: str, port: int, *, lan: bool = False) -> bool:
    """Said no at once: not silence, not a hang."""
    try:
        lab.fetch(address, port, lan=lan)
    except ConnectionRefusedError:
        return True
    return False


def test_a_service_without_pods_refuses(lab: labs.Lab, names: labs.Object) -> None:
    lab.apply(manifests.service("empty"), *N)
    service = lab.get("svc/empty", *N)
    labs.until(lambda: refused(lab, service["spec"]["clusterIP"], 80), "the cluster IP refuses")
    labs.until(lambda: refused(lab, lab.address, node_port(service), lan=True), "the port refuses")
    labs.until(lambda: refused(lab, "127.0.0.1", node_port(service)), "localhost refuses")


def test_a_service_follows_its_pods(lab: labs.Lab, names: labs.Object) -> None:
    server = server_container()
    lab.apply(
        manifests.listed(
            manifests.deployment("moves", server, replicas=1), manifests.service("moves")
        ),
        *N,
    )
    lab.rollout("deploy/moves", *N)
    address = lab.get("svc/moves", *N)["spec"]["clusterIP"]
    labs.until(lambda: _answers(lab, address, 80), "one pod answers")
    lab.kubectl("scale", "deploy/moves", "--replicas=0", *N)
    labs.until(lambda: refused(lab, address, 80), "none refuses")
    lab.kubectl("scale", "deploy/moves", "--replicas=2", *N)
    lab.rollout("deploy/moves", *N)
    labs.until(lambda: len(spread(lab, address, 80)) == 2, "both answer")
    lab.kubectl("delete", "deploy/moves", "svc/moves", *N)


def test_an_unready_pod_gets_no_requests(lab: labs.Lab, names: labs.Object) -> None:
    script = "touch /tmp/ready; " + manifests.NAMES
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1}
    server = manifests.container(script, readinessProbe=probe | {"failureThreshold": 1})
    lab.apply(
        manifests.listed(manifests.deployment("picky", server), manifests.service("picky")), *N
    )
    lab.rollout("deploy/picky", *N)
    address = lab.get("svc/picky", *N)["spec"]["clusterIP"]
    labs.until(lambda: _answers(lab, address, 80), "the ready pod answers")
    pod = lab.items("pods", "-l", "app=picky", *N)[0]
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    lab.run("ctr", "task", "exec", "--exec-id", "x", container, "rm", "/tmp/ready")
    lab.wait("pod/" + pod["metadata"]["name"], "condition=Ready=false", *N)
    labs.until(lambda: refused(lab, address, 80), "the unready pod is not asked")
    (subset,) = lab.get("endpoints/picky", *N)["subsets"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == [pod["status"]["podIP"]]
    lab.kubectl("delete", "deploy/picky", "svc/picky", *N)


def test_endpoints_without_a_selector_are_the_users(lab: labs.Lab, names: labs.Object) -> None:
    """A Service without selector leads where its Endpoints object says."""
    other = lab.items("pods", "-l", "app=names", *N)[0]
    service = manifests.service("manual", "ClusterIP")
    del service["spec"]["selector"]
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "manual"},
        "subsets": [{"addresses": [{"ip": other["status"]["podIP"]}], "ports": [{"port": 80}]}],
    }
    lab.apply(manifests.listed(service, endpoints), *N)
    address = lab.get("svc/manual", *N)["spec"]["clusterIP"]
    labs.until(lambda: _answers(lab, address, 80), "the named pod answers")
    assert lab.fetch(address, 80).strip().decode() == other["metadata"]["name"]


def test_session_affinity_keeps_a_client_at_its_pod(lab: labs.Lab, names: labs.Object) -> None:
    service = manifests.service("sticky", "ClusterIP", sessionAffinity="ClientIP")
    service["spec"]["selector"] = {"app": "names"}
    lab.apply(service, *N)
    address = lab.get("svc/sticky", *N)["spec"]["clusterIP"]
    labs.until(lambda: _answers(lab, address, 80), "it answers")
    assert len(spread(lab, address, 80)) == 1


def test_a_headless_service_has_no_address(lab: labs.Lab, names: labs.Object) -> None:
    service = manifests.service("headless", "ClusterIP", clusterIP="None")
    service["spec"]["selector"] = {"app": "names"}
    lab.apply(service, *N)
    assert lab.get("svc/headless", *N)["spec"]["clusterIPs"] == ["None"]
    labs.until(lambda: lab.get("endpoints/headless", *N).get("subsets"), "endpoints")
    (subset,) = lab.get("endpoints/headless", *N)["subsets"]
    assert len(subset["addresses"]) == 3


def test_a_node_port_is_given_back(lab: labs.Lab, names: labs.Object) -> None:
    wanted = manifests.service("fixed")
    wanted["spec"]["ports"][0]["nodePort"] = 32123
    twice = json.loads(json.dumps(wanted))
    twice["metadata"]["name"] = "fixed-too"
    lab.apply(wanted, *N)
    told = lab.try_kubectl("create", "-f", "-", *N, stdin=twice)
    assert told.returncode == 1
    assert "32123: provided port is already allocated" in told.stderr
    lab.kubectl("delete", "svc/fixed", *N)
    lab.apply(twice, *N)
    lab.kubectl("delete", "svc/fixed-too", *N)


ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 53))
while True:
    data, peer = s.recvfrom(100)
    s.sendto(b"echo " + data, peer)
"""

PING = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"ping")
print(s.recv(100).decode())
"""


def test_udp(lab: labs.Lab, names: labs.Object) -> None:
    ports = [{"port": 53, "protocol": "UDP"}]
    lab.apply(
        manifests.listed(
            manifests.pod("udp", labels={"app": "udp"}), manifests.service("udp", ports=ports)
        ),
        *N,
    )
    lab.wait("pod/udp", "condition=Ready", *N)
    service = lab.get("svc/udp", *N)
    command, env = lab.command("python3", "-c", ECHO)
    command[1] = f"--net={pod_netns(lab, 'udp', 'services')}"
    echo = labs.Background(command, env)
    try:
        for address, port in (
            (service["spec"]["clusterIP"], 53),
            (lab.address, node_port(service)),
        ):
            ping = ("python3", "-c", PING, address, str(port))
            labs.until(
                lambda ping=ping: "echo ping" in lab.run(*ping, check=False).stdout,  # type: ignore[misc]
                f"a datagram back from {address}",
            )
    finally:
        echo.stop()
