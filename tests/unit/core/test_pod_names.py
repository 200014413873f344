"""What a pod is called: in the kernel, and in its /etc/hosts."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import pod_files
from tests.unit.core import pods

DOMAIN = "cluster.local"


@pytest.mark.parametrize(
    ("spec", "name", "line"),
    [
        ({}, "p", "10.42.0.2\tp\n"),
        ({"hostname": "web"}, "web", "10.42.0.2\tweb\n"),
        (
            {"hostname": "web", "subdomain": "sub"},
            "web",
            "10.42.0.2\tweb.sub.default.svc.cluster.local\tweb\n",
        ),
        (
            {"hostname": "web", "subdomain": "sub", "setHostnameAsFQDN": True},
            "web.sub.default.svc.cluster.local",
            "10.42.0.2\tweb.sub.default.svc.cluster.local\tweb\n",
        ),
        ({"setHostnameAsFQDN": True}, "p", "10.42.0.2\tp\n"),
        (
            {"hostname": "web", "subdomain": "sub", "hostnameOverride": "a.example.com"},
            "a.example.com",
            "10.42.0.2\ta.example.com\n",
        ),
        ({"meta": {"name": "x" * 70}}, "x" * 63, f"10.42.0.2\t{'x' * 63}\n"),
    ],
    ids=["plain", "hostname", "subdomain", "fqdn", "fqdn without domain", "override", "long"],
)
def test_names(spec: dict[str, Any], name: str, line: str) -> None:
    pod = pods.pod(**spec)
    assert pod_files.nodename(pod, "node", DOMAIN) == name
    assert pod_files.hosts(pod, "10.42.0.2", DOMAIN).endswith(line)


def test_a_pod_in_the_nodes_network_has_the_nodes_name() -> None:
    pod = pods.pod(hostNetwork=True, hostname="web", subdomain="s", setHostnameAsFQDN=True)
    assert pod_files.nodename(pod, "node", DOMAIN) == "node"


def test_a_name_that_the_kernel_has_no_room_for_is_refused() -> None:
    pod = pods.pod(hostname="h" * 40, subdomain="s", setHostnameAsFQDN=True)
    with pytest.raises(pod_files.HostnameError) as caught:
        pod_files.nodename(pod, "node", DOMAIN)
    full = f"{'h' * 40}.s.default.svc.cluster.local"
    assert str(caught.value) == (
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
        "(64 characters is the max, 68 characters requested)"
    )


def test_more_than_a_resolver_takes_is_left_out_and_told() -> None:
    searches = tuple(f"{number:02}.{'x' * 60}.example" for number in range(40))
    servers = tuple(f"192.0.2.{number}" for number in range(1, 6))
    found, told = pod_files.limited(pod_files.Resolver(servers, searches, ("ndots:2",)))
    assert found.nameservers == servers[:3]
    assert found.searches == searches[:28]
    assert len(" ".join(found.searches)) <= 2048
    assert told[0].startswith("Search Line limits were exceeded, some search paths have been omit")
    assert told[1] == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
        "nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3"
    )
    assert pod_files.limited(found) == (found, [])
