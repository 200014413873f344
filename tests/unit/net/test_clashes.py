"""Networks of the host that lie where ours should, as /proc/net/route shows them."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.net import clashes, links

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def row(interface: str, destination: str, mask: str) -> str:
    return f"{interface}\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"


ROUTES = HEAD + (
    row("eth0", "00000000", "00000000")
    + row("docker0", "000011AC", "0000FFFF")  # 172.17.0.0/16
    + row("edgeorch0", "02002A0A", "FFFFFFFF")  # 10.42.0.2/32
    + row("*", "00002B0A", "0000FFFF")  # 10.43.0.0/16, unreachable
)


@pytest.mark.parametrize(
    ("cidr", "route"),
    [
        pytest.param("10.42.0.0/24", "", id="only our own pods"),
        pytest.param("10.43.0.0/16", "", id="only our own range"),
        pytest.param("172.17.5.0/24", "172.17.0.0/16 on docker0", id="within another's"),
        pytest.param("172.16.0.0/12", "172.17.0.0/16 on docker0", id="around another's"),
    ],
)
def test_routes_of_others(cidr: str, route: str) -> None:
    assert clashes.overlap(ROUTES, cidr, "edgeorch0") == route


def test_a_host_without_routes_is_free() -> None:
    assert clashes.overlap("", "10.42.0.0/24", "edgeorch0") == ""


def test_an_interface_is_ours_by_its_alias(tmp_path: pathlib.Path) -> None:
    link = tmp_path / "edgeorch0"
    assert not clashes.is_foreign(link)
    link.mkdir()
    (link / "ifalias").write_text("\n")
    assert clashes.is_foreign(link)
    (link / "ifalias").write_text(f"{links.ALIAS}\n")
    assert not clashes.is_foreign(link)
