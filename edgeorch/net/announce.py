"""Gratuitous ARP: telling the neighbours at once that an address lives here now (RFC 5227)."""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable

log = logging.getLogger(__name__)

ETH_P_ARP = 0x0806
ARPHRD_ETHER = 1
SIOCGIFFLAGS = 0x8913
IFF_RUNNING = 0x40
_BROADCAST = b"\xff" * 6
_ETHERNET_IPV4 = b"\x00\x01\x08\x00\x06\x04"
_REQUEST = b"\x00\x01"


def announcement(hardware: bytes, ip: str) -> bytes:
    """An ARP announcement as an Ethernet frame: sender and target are the same address."""
    packed = ipaddress.IPv4Address(ip).packed
    frame = _BROADCAST + hardware + ETH_P_ARP.to_bytes(2, "big") + _ETHERNET_IPV4 + _REQUEST
    return frame + hardware + packed + b"\0" * 6 + packed


class Announcer:
    """Tells the neighbours on each interface of each address once: also those of an interface
    that comes, or comes back, when the addresses have long been here."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, interfaces: Iterable[str], ips: Iterable[str]) -> None:
        """The addresses are here now. An interface without a carrier hears of them when it has."""
        live = [interface for interface in interfaces if _is_running(interface)]
        wanted = {(interface, ip) for interface in live for ip in ips}
        news = sorted(wanted - self._told)
        for interface in dict.fromkeys(interface for interface, _ in news):
            announce(interface, [ip for where, ip in news if where == interface])
        self._told = wanted


def announce(interface: str, ips: list[str]) -> None:
    """Send one for each address; who misses it asks by ARP as always."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((interface, ETH_P_ARP))
            *_, kind, hardware = out.getsockname()
            if kind != ARPHRD_ETHER:
                return
            for ip in ips:
                out.send(announcement(hardware, ip))
    except OSError as error:
        log.info("Cannot announce %s on %s: %s", ", ".join(ips), interface, error)


def _is_running(interface: str) -> bool:
    """Whether it has a carrier (netdevice(7)); what is sent before is lost without a word."""
    request = struct.pack("16sH22x", interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            (flags,) = struct.unpack_from("=H", fcntl.ioctl(asked, SIOCGIFFLAGS, request), 16)
        except OSError:
            return False
    return bool(flags & IFF_RUNNING)
