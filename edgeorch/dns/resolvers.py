"""The host's resolvers: who they are, as resolv.conf says now, and which of them answer.

The file is looked at with every question for them (one stat, resolv.conf(5)). A resolver that has
failed several times in a row is asked last for a while; when all are like that, only one question
goes out now and then, and the others fail at once instead of making everybody wait. Addresses that
lead back to us are never asked.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import pathlib
import stat
from collections.abc import Callable, Iterable

from edgeorch.lib import backoff

log = logging.getLogger(__name__)

FAILURES = 3
"""In a row, after which a resolver counts as down."""
REST = backoff.Policy(initial=1.0, factor=2.0, cap=8.0)
"""Seconds between questions to a resolver that is down."""

_MOST = 6
_MOST_OCTETS = 1 << 16

Stamp = tuple[int, int, int]


class Resolver:
    """One of them, with what is known of its health."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.plain = False
        """It does not understand EDNS."""
        self._failures = 0
        self._rests_until = 0.0

    def is_down(self) -> bool:
        return self._failures >= FAILURES

    def may_be_asked(self, now: float) -> bool:
        return not self.is_down() or now >= self._rests_until

    def asked(self, now: float) -> None:
        """When it is down: others leave it alone until the answer is there or the rest is over."""
        if self.is_down():
            self._rests_until = now + REST.delay(self._failures - FAILURES)

    def answered(self) -> None:
        self._failures = 0

    def failed(self, now: float) -> None:
        self._failures += 1
        if self.is_down():
            self._rests_until = now + REST.delay(self._failures - FAILURES)

    def forgive(self) -> None:
        self._failures = 0


class Resolvers:
    def __init__(
        self, path: pathlib.Path, excluded: Iterable[str], changed: Callable[[], None]
    ) -> None:
        """`excluded`: addresses and CIDRs that lead to us. `changed`: there are others now."""
        self._path = path
        self._excluded = [ipaddress.ip_network(each) for each in excluded]
        self._changed = changed
        self._stamp: Stamp | None = None
        self._looked = False
        self._found: list[Resolver] = []

    def refresh(self) -> None:
        """See whether the file has changed: a stat, then some octets, not worth a thread."""
        try:
            seen = os.stat(self._path)
            stamp = (seen.st_mtime_ns, seen.st_ino, seen.st_size)
            if stamp == self._stamp:
                return
            if not stat.S_ISREG(seen.st_mode):
                raise OSError(f"{self._path} is not a regular file")
            with self._path.open("rb") as file:
                text = file.read(_MOST_OCTETS).decode("utf-8", "replace")
        except OSError as error:
            if self._stamp is not None or not self._looked:
                log.warning("No resolvers for names outside the cluster: %s", error)
            stamp, text = None, ""
        self._looked = True
        if stamp != self._stamp:
            self._stamp = stamp
            self._replace(self._usable(nameservers(text)))

    def _usable(self, addresses: list[str]) -> list[str]:
        usable = []
        for address in addresses:
            parsed = ipaddress.ip_address(address.partition("%")[0])
            if any(parsed in network for network in self._excluded):
                log.warning("Not asking %s of %s: it leads back here", address, self._path)
            else:
                usable.append(address)
        return usable[:_MOST]

    def _replace(self, addresses: list[str]) -> None:
        if addresses != [resolver.address for resolver in self._found]:
            self._found = [Resolver(address) for address in addresses]
            log.info("Resolvers: %s", ", ".join(addresses) or "none")
            self._changed()

    def order(self, now: float) -> list[Resolver]:
        """Whom to ask, best first; empty: nobody, fail at once."""
        able = [resolver for resolver in self._found if not resolver.is_down()]
        return able + [r for r in self._found if r.is_down() and r.may_be_asked(now)]

    def forgive(self) -> None:
        """The network has changed: what has failed may work now."""
        for resolver in self._found:
            resolver.forgive()


def nameservers(text: str) -> list[str]:
    """The addresses in resolv.conf(5), as it writes them, scope included."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ipaddress.ip_address(words[1])
        except ValueError:
            log.warning("Ignoring nameserver %r: not an IP address", words[1])
            continue
        found[words[1]] = None
    return list(found)
