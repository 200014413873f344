"""`edgeorch check` on a device whose networks, ports and filters stand in the way."""

from __future__ import annotations

import socket

import pytest

from edgeorch import check, config
from tests.component.net import conftest
from tests.component.net.conftest import sh

pytestmark = pytest.mark.system


def findings() -> dict[str, check.Finding]:
    return {found.name: found for found in check.run(config.load(None))}


def test_what_is_free_is_fine(device: conftest.Device) -> None:
    found = findings()
    for name in ("addresses", "DNS port", "forwarding"):
        assert found[name].level == check.OK, found[name]


@pytest.mark.parametrize(
    ("others", "text", "fix"),
    [
        pytest.param(
            "ip addr add 10.42.9.9/16 dev up0",
            "network.pod_cidr 10.42.0.0/24 overlaps the route 10.42.0.0/16 on up0",
            "choose another range for network.pod_cidr",
            id="pod range",
        ),
        pytest.param(
            "ip route add 10.43.7.0/24 via 192.0.2.1",
            "network.service_cidr 10.43.0.0/16 overlaps the route 10.43.7.0/24 on up0",
            "choose another range for network.service_cidr",
            id="service range",
        ),
    ],
)
def test_a_range_that_is_taken(device: conftest.Device, others: str, text: str, fix: str) -> None:
    sh(others)
    found = findings()["addresses"]
    assert (found.level, found.text, found.fix) == (check.FAILURE, text, fix)


def test_a_dns_server_on_all_addresses(device: conftest.Device) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 53))
        found = findings()["DNS port"]
    assert found.level == check.FAILURE
    assert found.text == "cannot listen on 10.42.0.1:53: Address already in use"
    assert found.fix.startswith("another DNS server listens on all addresses; bind it to its own")


def test_another_packet_filter(device: conftest.Device) -> None:
    sh("nft 'add table ip filter; add chain ip filter FORWARD "
       "{ type filter hook forward priority 0; policy drop; }'")  # fmt: skip
    found = findings()["forwarding"]
    assert found.level == check.WARNING
    assert "iptables -I FORWARD -i edgeorch0 -j ACCEPT" in found.fix
    sh("nft add rule ip filter FORWARD ip saddr 10.42.0.0/16 accept")
    assert findings()["forwarding"].level == check.OK
