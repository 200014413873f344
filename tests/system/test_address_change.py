"""The device's address changes under it, as a DHCP server may have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs

MOVED, NEIGHBOUR = "192.0.2.7", "192.0.2.8"


def test_a_new_address_restarts_nothing_and_serves_everything(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path]
) -> None:
    lab = new_lab(load=(images["busybox-latest"],))
    balanced = manifests.service("web", "LoadBalancer", 8080)
    lab.apply(
        manifests.listed(
            manifests.deployment("web", manifests.container(manifests.NAMES)),
            balanced,
            manifests.pod("on-host", labels={"app": "on-host"}, hostNetwork=True),
            manifests.service("on-host", "ClusterIP"),
        )
    )
    lab.rollout("deploy/web")
    lab.wait("pod/on-host", "condition=Ready")
    (before,) = lab.items("pods", "-l", "app=web")
    kernel.ip("address", "flush", "dev", "uplink0", "scope", "global", netns=lab.device.netns)
    kernel.ip("address", "add", f"{MOVED}/24", "dev", "uplink0", netns=lab.device.netns)
    kernel.ip("address", "add", f"{NEIGHBOUR}/24", "dev", "lan0", netns=lab.device.lan)

    def internal() -> str:
        (node,) = lab.items("nodes")
        listed = node["status"]["addresses"]
        return next(str(a["address"]) for a in listed if a["type"] == "InternalIP")

    def ingress() -> list[str]:
        found = lab.get("svc/web")["status"]["loadBalancer"].get("ingress", [])
        return [entry["ip"] for entry in found]

    def answers(port: int) -> bool:
        try:
            return bool(clients.in_netns(lab.device.lan, lambda: clients.fetch(MOVED, port).body))
        except OSError:
            return False

    labs.until(lambda: internal() == MOVED, "the node's new address")
    labs.until(lambda: ingress() == [MOVED], "the load balancer's new address")
    port = lab.get("svc/web")["spec"]["ports"][0]["nodePort"]
    for each in (port, 8080):
        labs.until(lambda p=each: answers(p), f"port {each} at the new address")  # type: ignore[misc]
    (after,) = lab.items("pods", "-l", "app=web")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    # What is on the device's network has moved with it, and so have those who lead there.
    assert after["status"]["hostIP"] == MOVED
    on_host = lab.get("pod/on-host")["status"]
    assert (on_host["podIP"], on_host["hostIP"]) == (MOVED, MOVED)
    assert on_host["containerStatuses"][0]["restartCount"] == 0

    def endpoints() -> list[str]:
        subsets = lab.get("endpoints/on-host").get("subsets", [])
        return [each["ip"] for subset in subsets for each in subset.get("addresses", [])]

    labs.until(lambda: endpoints() == [MOVED], "the endpoint has moved")
