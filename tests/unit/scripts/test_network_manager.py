"""What NetworkManager is told to leave alone is what edgeorch makes."""

from __future__ import annotations

import configparser
import fnmatch
from pathlib import Path

from edgeorch.config import NetworkConfig
from edgeorch.net import links

FILE = Path(__file__).resolve().parents[3] / "systemd/networkmanager.conf"


def test_the_bridge_and_the_pods_links_are_left_alone() -> None:
    parsed = configparser.ConfigParser(delimiters=("=",))
    parsed.read_string(FILE.read_text())
    patterns = [
        part.removeprefix("interface-name:")
        for part in parsed["keyfile"]["unmanaged-devices+"].split(";")
    ]

    def left_alone(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    assert left_alone(NetworkConfig().bridge)
    assert left_alone(links.host_name("0b2f6f1e-0000-4000-8000-000000000000"))
    assert not left_alone("eth0")
    assert not left_alone("veth1a2b3c4")
