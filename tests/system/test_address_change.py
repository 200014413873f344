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
            manifests.deployment("web", manifests.container(manifests.NAMES)), balanced
        )
    )
    lab.rollout("deploy/web")
    (before,) = lab.items("pods")
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
    (after,) = lab.items("pods")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
