"""nftables through the `nft` program: one table of ours, text in, atomic transactions.

The program's grammar is the documented interface of nftables (kube-proxy and firewalld drive it
the same way); a child costs some milliseconds and no resident memory. One `Table` owns the table:
its transactions run one after the other. `watch` is told by netlink (NFNLGRP_NFTABLES) when
somebody else deletes the table, as `nft flush ruleset` does, without a resident `nft monitor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

from edgeorch.lib import json, metrics, programs

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds for one transaction; a full table of 1,000 Services takes a fraction of one."""

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_NFTABLES = 7
NFT_MSG_NEWTABLE = 0
NFT_MSG_DELTABLE = 2
NFTA_TABLE_NAME = 1
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1


class NftError(Exception):
    """`nft` refused; the message is its own."""


async def run(*arguments: str, text: str = "") -> bytes:
    """Run `nft` with `text` on its standard input. Raises NftError."""
    try:
        done = await programs.run("nft", *arguments, limit=TIMEOUT, given=text.encode())
    except FileNotFoundError:
        raise NftError("cannot run nft: not installed (apt-get install nftables)") from None
    except TimeoutError:
        raise NftError(f"nft did not finish within {TIMEOUT:.0f} s") from None
    if done.code != 0:
        raise NftError(f"nft: {done.complaint or f'exit code {done.code}'}")
    return done.out


class Table:
    """Our one table. `family` is "ip" or "ip6"."""

    def __init__(self, family: str, name: str) -> None:
        self.family = family
        self.name = name
        self._lock = asyncio.Lock()
        self._transactions = metrics.Counter(
            "edgeorch_nft_transactions_total", "Transactions of nftables by result.", ("result",)
        )
        self._took = metrics.Histogram(
            "edgeorch_nft_transaction_duration_seconds", "Seconds that transactions took."
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._transactions, self._took)

    async def apply(self, text: str) -> None:
        """All of it or nothing. Raises NftError."""
        if not text:
            return
        async with self._lock:
            try:
                with self._took.timed():
                    await run("-f", "-", text=text)
            except NftError:
                self._transactions.add("error")
                raise
            self._transactions.add("success")

    async def check(self, text: str) -> None:
        """Whether the kernel would take it, without taking it. Raises NftError."""
        async with self._lock:
            await run("-c", "-f", "-", text=text)

    async def listing(self, *, elements: bool = False) -> list[dict[str, Any]] | None:
        """The objects of the table as nft's JSON schema has them; None when there is no table."""
        terse = [] if elements else ["-t"]
        try:
            async with self._lock:
                out = await run("-j", *terse, "list", "table", self.family, self.name)
        except NftError as error:
            if "No such file or directory" in str(error):
                return None
            raise
        objects: list[dict[str, Any]] = json.decode(out)["nftables"]
        return objects

    async def names(self) -> dict[str, frozenset[str]] | None:
        """The names of the table's chains, sets and maps, by those words."""
        listed = await self.listing()
        if listed is None:
            return None
        found: dict[str, set[str]] = {"chain": set(), "set": set(), "map": set()}
        for entry in listed:
            for kind, names in found.items():
                if kind in entry:
                    names.add(entry[kind]["name"])
        return {kind: frozenset(names) for kind, names in found.items()}

    async def delete(self) -> None:
        """Repeatable: `add` before `delete` makes an absent table no error."""
        name = f"{self.family} {self.name}"
        await self.apply(f"add table {name}\ndelete table {name}\n")


class Watch:
    """Calls `lost` when the table is gone and nobody put it back in the same breath."""

    def __init__(self, table: str, lost: Callable[[], None]) -> None:
        self._table = table
        self._lost = lost
        self._socket: socket.socket | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        gone = False
        with contextlib.suppress(BlockingIOError):
            while self._socket is not None:
                try:
                    data = self._socket.recv(65536)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    # Messages were dropped: let the owner look for itself.
                    gone = True
                    continue
                gone = self._after(data, gone)
        if gone:
            self._lost()

    def _after(self, data: bytes, gone: bool) -> bool:
        for kind, name in table_messages(data):
            if name == self._table:
                gone = kind == NFT_MSG_DELTABLE
        return gone


def table_messages(data: bytes) -> list[tuple[int, str]]:
    """The NEWTABLE and DELTABLE messages in a netlink datagram, with the table's name."""
    found = []
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            break
        message = kind & 0xFF
        if kind >> 8 == NFNL_SUBSYS_NFTABLES and message in (NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE):
            found.append((message, _table_name(data[offset + 20 : offset + length])))
        offset += (length + 3) & ~3
    return found


def _table_name(attributes: bytes) -> str:
    offset = 0
    while offset + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if kind & 0x3FFF == NFTA_TABLE_NAME:
            return attributes[offset + 4 : offset + length].rstrip(b"\0").decode()
        offset += max(4, (length + 3) & ~3)
    return ""
