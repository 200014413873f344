"""The uplink comes late, goes, and comes back with another address, as by radio and DHCP."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs
from .test_kills import reboot

HOST_PORT = 8088
FIRST, SECOND, NEIGHBOUR = "192.0.2.6", "192.0.2.7", "192.0.2.8"


class Uplink:
    """The device's only cable, or modem."""

    def __init__(self, lab: labs.Lab) -> None:
        self._device = lab.device
        kernel.ip("address", "add", f"{NEIGHBOUR}/24", "dev", "lan0", netns=lab.device.lan)

    def pull_out(self) -> None:
        """The interface itself goes, and with it every route."""
        kernel.ip("link", "delete", "uplink0", netns=self._device.netns)
        kernel.ip("route", "flush", "exact", "default", netns=self._device.netns)

    def put_in(self) -> None:
        peer = ("peer", "name", "lan0", "netns", self._device.lan)
        kernel.ip("link", "add", "uplink0", "type", "veth", *peer, netns=self._device.netns)
        kernel.ip("link", "set", "lan0", "up", netns=self._device.lan)
        kernel.ip("address", "add", f"{NEIGHBOUR}/24", "dev", "lan0", netns=self._device.lan)

    def cut(self) -> None:
        """No carrier, no address, and no route anywhere."""
        netns = self._device.netns
        kernel.ip("address", "flush", "dev", "uplink0", "scope", "global", netns=netns)
        kernel.ip("link", "set", "uplink0", "down", netns=netns)
        kernel.ip("route", "flush", "exact", "default", netns=netns)

    def connect(self, address: str) -> None:
        netns = self._device.netns
        kernel.ip("link", "set", "uplink0", "up", netns=netns)
        kernel.ip("address", "add", f"{address}/24", "dev", "uplink0", netns=netns)
        kernel.ip("route", "add", "default", "via", NEIGHBOUR, netns=netns)


def node_addresses(lab: labs.Lab) -> list[str]:
    (node,) = lab.items("nodes")
    return [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]


def ingress(lab: labs.Lab) -> list[str]:
    found = lab.get("svc/web")["status"]["loadBalancer"].get("ingress", [])
    return [entry["ip"] for entry in found]


def endpoints(lab: labs.Lab, name: str) -> list[str]:
    subsets = lab.get(f"endpoints/{name}").get("subsets", [])
    return [each["ip"] for subset in subsets for each in subset.get("addresses", [])]


def answers(lab: labs.Lab, address: str, port: int, *, lan: bool) -> bool:
    try:
        return bool(lab.fetch(address, port, lan=lan))
    except OSError:
        return False


def api_is_trusted(lab: labs.Lab, address: str) -> bool:
    """Whether a client on the neighbour finds a certificate that names the address."""
    cluster = json.loads(lab.device.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)

    def handshake() -> bool:
        with socket.create_connection((address, 6443), 10) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=address):
                    return True
            except ssl.SSLCertVerificationError:
                return False

    try:
        return clients.in_netns(lab.device.lan, handshake)
    except OSError:
        return False


def works_alone(lab: labs.Lab) -> None:
    """Pods, Services, names, the API from inside, and kubectl over the loopback."""
    address = lab.get("svc/web")["spec"]["clusterIP"]
    labs.until(lambda: answers(lab, address, 8080, lan=False), "the cluster address")
    ask = "wget -q -O - http://web.default:8080/ http://on-host && nc kubernetes 443 </dev/null"
    name = lab.items("pods", "-l", "app=web")[0]["metadata"]["name"]

    labs.until(
        lambda: (
            (said := lab.try_kubectl("exec", "deploy/asker", "--", "sh", "-c", ask)).returncode == 0
            and said.stdout == f"{name}\nhost\n"
        ),
        "a pod finds Services by their names, and the API",
    )


def works_at(lab: labs.Lab, address: str) -> None:
    """Everything that outsiders use, at that address."""
    labs.until(lambda: node_addresses(lab) == [address], "the node's address")
    labs.until(lambda: ingress(lab) == [address], "the load balancer's address")
    for port in (lab.get("svc/web")["spec"]["ports"][0]["nodePort"], 8080, HOST_PORT):
        labs.until(
            lambda port=port: answers(lab, address, port, lan=True),  # type: ignore[misc]
            f"port {port} at {address}",
        )
    labs.until(lambda: api_is_trusted(lab, address), "the certificate names the address")
    # What is on the device's network has moved with it, and so have those who lead there.
    labs.until(lambda: endpoints(lab, "on-host") == [address], "the endpoint has moved")
    on_host = lab.get("pod/on-host")["status"]
    assert (on_host["podIP"], on_host["hostIP"]) == (address, address)


def lives(lab: labs.Lab) -> dict[str, object]:
    """What a restart of anything would change."""
    pods = {
        pod["metadata"]["uid"]: (pod["status"].get("containerStatuses"), pod["metadata"]["name"])
        for pod in lab.items("pods")
    }
    return {"pods": pods, "process": lab.pid}


@pytest.mark.ask(8, 9, 10)
def test_an_uplink_comes_late_goes_and_comes_back_with_another_address(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path]
) -> None:
    lab = new_lab(load=(images["busybox-latest"],))
    uplink = Uplink(lab)
    lab.apply(
        manifests.listed(
            manifests.deployment(
                "web",
                manifests.container(
                    manifests.NAMES, ports=[{"containerPort": 80, "hostPort": HOST_PORT}]
                ),
            ),
            manifests.deployment("asker"),
            manifests.service("web", "LoadBalancer", 8080),
            manifests.pod(
                "on-host",
                manifests.container("echo host >/tmp/index.html; exec httpd -f -p 81 -h /tmp"),
                labels={"app": "on-host"},
                hostNetwork=True,
            ),
            manifests.service("on-host", "ClusterIP", ports=[{"port": 80, "targetPort": 81}]),
        )
    )
    lab.rollout("deploy/web")
    lab.rollout("deploy/asker")
    lab.wait("pod/on-host", "condition=Ready")

    uplink.pull_out()
    reboot(lab)
    assert not lab.run("ip", "route", "show", "default").stdout
    for name in ("web", "asker"):
        lab.rollout(f"deploy/{name}")
    lab.wait("pod/on-host", "condition=Ready")
    labs.until(lambda: ingress(lab) == [], "no address to be reached at")
    assert node_addresses(lab) == []
    works_alone(lab)
    before = lives(lab)

    uplink.put_in()
    uplink.connect(FIRST)
    works_at(lab, FIRST)
    uplink.cut()
    labs.until(lambda: ingress(lab) == [], "no address again")
    works_alone(lab)
    uplink.connect(SECOND)
    works_at(lab, SECOND)
    works_alone(lab)
    assert lives(lab) == before
    assert "Traceback" not in lab.log()
