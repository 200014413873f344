"""Who has which address and which port: allocators over a range, as plain values.

A pool owns its range; whoever holds the pool is its only writer. An address or port is never given
out twice, `reserve` claims a chosen one, `release` gives it back. Pod addresses are handed out
round robin, so that a freed address rests as long as the range allows (stale ARP and conntrack
entries elsewhere die out first). Service addresses and node ports are drawn at random by the
caller's choice from the upper band first, which leaves the lower band to people who pick their own
(KEP-3070 for addresses, KEP-3668 for ports).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Choose = Callable[[int], int]
"""Given n, a number in 0..n-1; `random.randrange` in production."""

MOST_ADDRESSES = 1 << 20
"""A pool walks at most this much of a range: IPv6 networks are larger than any device."""


class Exhausted(Exception):
    """Nothing is free in the range."""


class OutOfRange(Exception):
    """The wanted number does not belong to the range."""


class InUse(Exception):
    """The wanted number is taken."""


class Numbers:
    """The numbers first..last, each free or taken."""

    def __init__(self, first: int, last: int) -> None:
        if last < first:
            raise ValueError(f"cannot allocate from {first}-{last}: the range is empty")
        self.first = first
        self.last = last
        self._taken: set[int] = set()
        self._cursor = first

    def __len__(self) -> int:
        return self.last - self.first + 1

    def free(self) -> int:
        return len(self) - len(self._taken)

    def is_taken(self, number: int) -> bool:
        return number in self._taken

    def reserve(self, number: int) -> None:
        """Raises OutOfRange or InUse."""
        if not self.first <= number <= self.last:
            raise OutOfRange(str(number))
        if number in self._taken:
            raise InUse(str(number))
        self._taken.add(number)

    def release(self, number: int) -> None:
        """Releasing what is free changes nothing: releases may be repeated after a crash."""
        self._taken.discard(number)

    def take_next(self) -> int:
        """Round robin: the next free number after the one given out last. Raises Exhausted."""
        found = self._scan(self.first, self.last, self._cursor)
        if found is None:
            raise Exhausted("range is full")
        self._taken.add(found)
        self._cursor = found + 1 if found < self.last else self.first
        return found

    def take_chosen(self, choose: Choose, static_band: int) -> int:
        """A free number at random, from above the lowest `static_band` while there is one."""
        split = self.first + static_band
        for low, high in ((split, self.last), (self.first, split - 1)):
            if low > high:
                continue
            found = self._scan(low, high, low + choose(high - low + 1))
            if found is not None:
                self._taken.add(found)
                return found
        raise Exhausted("range is full")

    def advance_past(self, number: int) -> None:
        """Go on handing out after `number`, as if it had been the last one."""
        if self.first <= number < self.last:
            self._cursor = number + 1

    def _scan(self, low: int, high: int, start: int) -> int | None:
        for number in range(start, high + 1):
            if number not in self._taken:
                return number
        for number in range(low, start):
            if number not in self._taken:
                return number
        return None


class AddressPool:
    """The host addresses of a CIDR, without its network and (IPv4) broadcast address."""

    def __init__(self, cidr: str, reserved: Iterable[str] = ()) -> None:
        self.network: Network = ipaddress.ip_network(cidr)
        first, last = _hosts(self.network)
        self._numbers = Numbers(first, last)
        for address in reserved:
            self.reserve(address)

    def __contains__(self, address: str) -> bool:
        """Whether the address is taken."""
        return self._numbers.is_taken(int(ipaddress.ip_address(address)))

    def is_taken(self, address: str) -> bool:
        return self._numbers.is_taken(int(ipaddress.ip_address(address)))

    def free(self) -> int:
        return self._numbers.free()

    def reserve(self, address: str) -> None:
        """Raises OutOfRange or InUse."""
        parsed = ipaddress.ip_address(address)
        if parsed.version != self.network.version:
            raise OutOfRange(address)
        self._numbers.reserve(int(parsed))

    def release(self, address: str) -> None:
        self._numbers.release(int(ipaddress.ip_address(address)))

    def take_next(self) -> str:
        return self._text(self._numbers.take_next())

    def take_chosen(self, choose: Choose) -> str:
        return self._text(self._numbers.take_chosen(choose, static_band(len(self._numbers))))

    def advance_past(self, address: str) -> None:
        self._numbers.advance_past(int(ipaddress.ip_address(address)))

    def _text(self, number: int) -> str:
        return str(type(self.network.network_address)(number))


class PortPool:
    """The ports first..last."""

    def __init__(self, first: int, last: int) -> None:
        self._numbers = Numbers(first, last)

    def __str__(self) -> str:
        return f"{self._numbers.first}-{self._numbers.last}"

    def __contains__(self, port: int) -> bool:
        return self._numbers.is_taken(port)

    def reserve(self, port: int) -> None:
        """Raises OutOfRange or InUse."""
        self._numbers.reserve(port)

    def release(self, port: int) -> None:
        self._numbers.release(port)

    def take_chosen(self, choose: Choose) -> int:
        return self._numbers.take_chosen(choose, static_port_band(len(self._numbers)))


def static_band(size: int) -> int:
    """KEP-3070: min(max(16, size / 16), 256), and no band in a range of 16 or fewer."""
    return 0 if size <= 16 else min(max(16, size // 16), 256)


def static_port_band(size: int) -> int:
    """KEP-3668: min(max(16, size / 32), 128), and no band in a range of 16 or fewer."""
    return 0 if size <= 16 else min(max(16, size // 32), 128)


def gateway(network: Network) -> str:
    """The first host address: the bridge's own."""
    return str(network.network_address + 1)


def _hosts(network: Network) -> tuple[int, int]:
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:
        last -= 1
    return first + 1, min(last, first + MOST_ADDRESSES)
