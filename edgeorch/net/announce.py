"""Gratuitous ARP: telling the neighbours at once that an address lives here now (RFC 5227)."""

from __future__ import annotations

import ipaddress
import logging
import pathlib
import socket
from collections.abc import Iterable

log = logging.getLogger(__name__)

ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ETHERNET_IPV4 = b"\x00\x01\x08\x00\x06\x04"
_REQUEST = b"\x00\x01"


def announcement(hardware: bytes, ip: str) -> bytes:
    """An ARP announcement as an Ethernet frame: sender and target are the same address."""
    packed = ipaddress.IPv4Address(ip).packed
    frame = _BROADCAST + hardware + ETH_P_ARP.to_bytes(2, "big") + _ETHERNET_IPV4 + _REQUEST
    return frame + hardware + packed + b"\0" * 6 + packed


def announce(interfaces: Iterable[str], ips: Iterable[str]) -> None:
    """Send one for each address on each interface; who misses it asks by ARP as always."""
    listed = list(ips)
    for interface in interfaces:
        try:
            text = pathlib.Path(f"/sys/class/net/{interface}/address").read_text().strip()
            _send(interface, bytes.fromhex(text.replace(":", "")), listed)
        except (OSError, ValueError) as error:
            log.info("Cannot announce %s on %s: %s", ", ".join(listed), interface, error)


def _send(interface: str, hardware: bytes, ips: list[str]) -> None:
    if len(hardware) != 6:
        return
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, ETH_P_ARP))
        for ip in ips:
            out.send(announcement(hardware, ip))
