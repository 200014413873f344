"""Two devices on one wire: the Services of one as the other's clients see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs

WIRE = ("192.0.2.1", "192.0.2.2")


CGI = """
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho Content-Type: text/plain\\necho\\necho $REMOTE_ADDR\\n' >/www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec httpd -f -p 80 -h /www
"""


def join(one: labs.Lab, other: labs.Lab) -> None:
    """A cable between the two."""
    kernel.ip(
        "link", "add", "wire0", "netns", one.device.netns, "type", "veth",
        "peer", "name", "wire0", "netns", other.device.netns,
    )  # fmt: skip
    for lab, address in zip((one, other), WIRE, strict=True):
        kernel.ip("address", "add", f"{address}/24", "dev", "wire0", netns=lab.device.netns)
        kernel.ip("link", "set", "wire0", "up", netns=lab.device.netns)


def test_services_of_one_device_from_the_other(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path]
) -> None:
    server = new_lab(load=(images["busybox-latest"],))
    client = new_lab()
    join(server, client)
    balanced = manifests.service("who", "LoadBalancer", 8080, externalTrafficPolicy="Local")
    server.apply(manifests.listed(manifests.deployment("who", manifests.container(CGI)), balanced))
    server.rollout("deploy/who")

    def ingress() -> list[str]:
        found = server.get("svc/who")["status"]["loadBalancer"].get("ingress", [])
        return [entry["ip"] for entry in found]

    labs.until(lambda: set(ingress()) == {server.address, WIRE[0]}, "both addresses of the device")
    port = server.get("svc/who")["spec"]["ports"][0]["nodePort"]

    def asked(number: int) -> str:
        def ask() -> str:
            return clients.fetch(WIRE[0], number, "/cgi-bin/who").body.decode().strip()

        try:
            return clients.in_netns(client.device.netns, ask)
        except OSError:
            return ""

    for number in (port, 8080):
        told = labs.until(lambda n=number: asked(n), f"an answer on port {number}")  # type: ignore[misc]
        assert told.strip("[]").removeprefix("::ffff:") == WIRE[1]
