"""Pods without containers: sockets opened inside a pod's namespace, served by the test's loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from edgeorch.core import service_rules as rules
from edgeorch.lib import tasks
from edgeorch.net import netns, network

SERVICE_IP = "10.43.200.1"


@dataclass
class Pod:
    sandbox: network.Sandbox
    sources: list[str] = field(default_factory=list)
    """Who has connected, as the pod sees it."""

    @property
    def ip(self) -> str:
        return self.sandbox.ip

    @property
    def pin(self) -> pathlib.Path:
        return pathlib.Path(self.sandbox.netns_path)


def open_socket(pin: pathlib.Path | None, kind: int = socket.SOCK_STREAM) -> socket.socket:
    def opened() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made

    return opened() if pin is None else netns.run_in(pin, opened)


@contextlib.asynccontextmanager
async def serving(pod: Pod, port: int = 8080) -> AsyncIterator[Pod]:
    """The pod answers each connection with its own address."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pod.sources.append(writer.get_extra_info("peername")[0])
        writer.write(pod.ip.encode())
        await writer.drain()
        writer.close()

    listening = open_socket(pod.pin)
    listening.bind(("0.0.0.0", port))
    server = await asyncio.start_server(answer, sock=listening)
    try:
        yield pod
    finally:
        server.close()


async def ask(pin: pathlib.Path | None, address: str, port: int, seconds: float = 3.0) -> str:
    """Connect from inside `pin` (None: the device itself) and read the answer."""
    client = open_socket(pin)
    with client:
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, (address, port))
            return (await loop.sock_recv(client, 100)).decode()


async def ask_many(pin: pathlib.Path | None, address: str, port: int, count: int) -> dict[str, int]:
    found: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        found[await ask(pin, address, port)] += 1
    return found


def endpoint(pod: Pod, port: int = 8080, *, ready: bool = True) -> rules.Endpoint:
    return rules.Endpoint(pod.ip, port, ready=ready, serving=ready)


def service(*endpoints: rules.Endpoint, name: str = "web", **changes: object) -> rules.ServicePort:
    given: dict[str, object] = {
        "namespace": "default",
        "name": name,
        "port_name": "http",
        "protocol": "TCP",
        "port": 80,
        "cluster_ips": (SERVICE_IP,),
        "node_port": 31234,
        "endpoints": endpoints,
    }
    return rules.ServicePort(**(given | changes))  # type: ignore[arg-type]


async def load(net: network.Network, *items: rules.Item) -> rules.State:
    names = await net.table.names() or {}
    existing = rules.Existing(names["chain"], names["set"], names["map"])
    state, text = rules.restart(net.layout, items, existing, net.routed)
    await net.table.apply(text)
    return state


async def change(net: network.Network, state: rules.State, *items: rules.Item) -> rules.State:
    state, text = rules.diff(state, {item.key: item for item in items}, net.layout)
    await net.table.apply(text)
    return state


@contextlib.asynccontextmanager
async def running(net: network.Network) -> AsyncIterator[None]:
    task = asyncio.create_task(net.run())
    try:
        yield
    finally:
        await tasks.cancel_and_wait(task)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
