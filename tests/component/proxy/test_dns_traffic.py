"""From a pod's packet to 10.43.0.10 to its answer: store, rules in the kernel, server, resolver."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import socket
import subprocess
from collections.abc import AsyncIterator

import dns.message
import dns.rcode
import dns.rrset
import pytest

from edgeorch.controllers import device_services
from edgeorch.dns import settings
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.net import netns, network
from edgeorch.proxy import allocation, services
from edgeorch.proxy import dns as cluster_dns
from edgeorch.store import objects
from tests.component.net import conftest, pods
from tests.component.net.conftest import Device, device, net
from tests.component.proxy.test_records import endpoint, put_slice, service
from tests.component.store import conftest as stores

pytestmark = pytest.mark.system

__all__ = ["device", "net"]

DNS_IP = "10.43.0.10"
WEB = "web.default.svc.cluster.local"


@pytest.fixture
async def store(  # its threads serve the network, too, so they are made in the namespace
    device: Device,
    tmp_path: pathlib.Path,
) -> AsyncIterator[objects.Objects]:
    del device
    async with stores.opened(tmp_path / "store.db") as made:
        made.allocate_with(
            "services",
            allocation.ServiceAllocator("10.43.0.0/16", (30000, 32767), random.Random(1).randrange),
        )
        for name in ("default", "kube-system"):
            await made.create("namespaces", stores.namespace(name))
        yield made


@contextlib.asynccontextmanager
async def resolving(
    store: objects.Objects, net: network.Network, path: pathlib.Path
) -> AsyncIterator[cluster_dns.Dns]:
    """Everything that a pod's question passes, running."""
    chosen = settings.Settings(
        address=net.gateway,
        service_address=DNS_IP,
        pod_cidr="10.42.0.0/24",
        service_cidr="10.43.0.0/16",
        resolv_conf=path / "resolv.conf",
    )
    made = cluster_dns.Dns(store, clocks.SystemClock(), chosen, lambda: net.node_addresses.all)
    proxy = services.ServiceProxy(store, net, "device")
    owner = device_services.DeviceServices(store, [device_services.dns(DNS_IP)])
    owner.move(device_services.DNS, net.gateway)
    running = [asyncio.create_task(each.run()) for each in (made, proxy, owner)]
    try:
        async with asyncio.timeout(10):
            while made.health() or not await _is_in_kernel(net):
                await asyncio.sleep(0.01)
        yield made
    finally:
        await tasks.cancel_and_wait(*running)


async def _is_in_kernel(net: network.Network) -> bool:
    names = await net.table.names() or {}
    return sum("kube-dns" in name for name in names.get("chain", ())) >= 2


async def ask(
    pin: pathlib.Path | None, name: str, kind: str = "A", *, where: str = DNS_IP
) -> dns.message.Message:
    """From inside `pin` (None: the device itself), over UDP."""
    asked = dns.message.make_query(name, kind)
    loop = asyncio.get_running_loop()
    with pods.open_socket(pin, socket.SOCK_DGRAM) as opened:
        opened.connect((where, 53))
        async with asyncio.timeout(5):
            await loop.sock_sendall(opened, asked.to_wire())
            response = dns.message.from_wire(await loop.sock_recv(opened, 4096))
    assert asked.is_response(response)
    return response


async def ask_tcp(pin: pathlib.Path | None, name: str) -> dns.message.Message:
    asked = dns.message.make_query(name, "A").to_wire()
    loop = asyncio.get_running_loop()
    with pods.open_socket(pin) as opened:
        async with asyncio.timeout(5):
            await loop.sock_connect(opened, (DNS_IP, 53))
            await loop.sock_sendall(opened, len(asked).to_bytes(2, "big") + asked)
            data = await loop.sock_recv(opened, 65535)
    return dns.message.from_wire(data[2:])


def values(response: dns.message.Message) -> list[str]:
    return sorted(str(rdata) for rrset in response.answer for rdata in rrset)


async def test_pods_and_the_device_find_services(
    store: objects.Objects, net: network.Network, tmp_path: pathlib.Path
) -> None:
    pod = pods.Pod(await net.attach("uid-a", "default/a"))
    await store.create("services", service("web", clusterIP="None"))
    async with resolving(store, net, tmp_path):
        for pin in (pod.pin, None):
            assert (await ask(pin, WEB)).rcode() == dns.rcode.NXDOMAIN
            await put_slice(store, "web-1", "web", endpoint(pod.ip, hostname="a"))
            assert values(await ask(pin, WEB)) == [pod.ip]
            assert values(await ask_tcp(pin, f"a.{WEB}")) == [pod.ip]
            await store.delete("endpointslices.discovery.k8s.io", "default", "web-1")
        assert values(await ask(pod.pin, "kube-dns.kube-system.svc.cluster.local")) == [DNS_IP]
        assert values(await ask(pod.pin, "10.0.43.10.in-addr.arpa", "PTR")) == [
            "kube-dns.kube-system.svc.cluster.local."
        ]


async def test_a_tool_in_a_pod_finds_a_service(
    store: objects.Objects, net: network.Network, tmp_path: pathlib.Path
) -> None:
    """busybox's own resolver, with the device as its server."""
    pod = pods.Pod(await net.attach("uid-a", "default/a"))
    await store.create("services", service("web", clusterIP="10.43.9.9"))
    async with resolving(store, net, tmp_path):

        def run() -> str:
            found = netns.run_in(
                pod.pin,
                lambda: subprocess.run(
                    ["busybox", "nslookup", WEB, DNS_IP],
                    capture_output=True,
                    text=True,
                    timeout=10,
                    check=False,
                ),
            )
            return found.stdout

        assert "10.43.9.9" in await asyncio.to_thread(run)


async def test_others_names_come_through_the_uplink_and_fail_at_once_without(
    store: objects.Objects,
    net: network.Network,
    device: conftest.Device,
    tmp_path: pathlib.Path,
) -> None:
    pod = pods.Pod(await net.attach("uid-a", "default/a"))

    class Neighbour(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked = dns.message.from_wire(data)
            response = dns.message.make_response(asked)
            response.answer.append(
                dns.rrset.from_text(asked.question[0].name, 60, "IN", "A", "192.0.2.77")
            )
            self.transport.sendto(response.to_wire(), addr)  # type: ignore[attr-defined]

    listening = pods.open_socket(device.neighbour, socket.SOCK_DGRAM)
    listening.bind((conftest.NEIGHBOUR, 53))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Neighbour, sock=listening)
    try:
        async with resolving(store, net, tmp_path) as made:
            (tmp_path / "resolv.conf").write_text(f"nameserver {conftest.NEIGHBOUR}\n")
            for pin in (pod.pin, None):
                assert values(await ask(pin, "example.com")) == ["192.0.2.77"]
            conftest.sh("ip link set up0 down")
            started = loop.time()
            for number in range(5):
                found = await ask(pod.pin, f"{number}.example.com")
                assert found.rcode() == dns.rcode.SERVFAIL
            assert loop.time() - started < 1.0
            await store.create("services", service("web", clusterIP="10.43.9.9"))
            assert values(await ask(pod.pin, WEB)) == ["10.43.9.9"]
            conftest.sh("ip link set up0 up")
            made.network_changed()
            assert values(await ask(pod.pin, "back.example.com")) == ["192.0.2.77"]
    finally:
        transport.close()


async def test_a_neighbour_finds_no_open_resolver(
    store: objects.Objects,
    net: network.Network,
    device: conftest.Device,
    tmp_path: pathlib.Path,
) -> None:
    netns.run_in(
        device.neighbour, lambda: conftest.sh(f"ip route add {net.gateway} via {conftest.NODE}")
    )
    async with resolving(store, net, tmp_path):
        (tmp_path / "resolv.conf").write_text(f"nameserver {conftest.NEIGHBOUR}\n")
        found = await ask(device.neighbour, "example.com", where=net.gateway)
        assert found.rcode() == dns.rcode.REFUSED


async def test_a_bridge_that_is_made_again_changes_nothing(
    store: objects.Objects, net: network.Network, tmp_path: pathlib.Path
) -> None:
    pod = pods.Pod(await net.attach("uid-a", "default/a"))
    await store.create("services", service("web", clusterIP="10.43.9.9"))
    async with resolving(store, net, tmp_path) as made, pods.running(net):
        assert values(await ask(pod.pin, WEB)) == ["10.43.9.9"]
        conftest.sh("ip link del edgeorch0")
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(0.2):
                        if values(await ask(pod.pin, WEB)) == ["10.43.9.9"]:
                            break
                await asyncio.sleep(0.01)
        assert made.health() is None
