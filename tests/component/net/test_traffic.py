"""Packets reach whom they should, in the kernel, with br_netfilter on and off."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator

import pytest

from edgeorch.core import service_rules as rules
from edgeorch.net import netns, network, sysctl
from tests.component.net import conftest, pods

pytestmark = pytest.mark.system


@pytest.fixture(params=["0", "1"], ids=["br_netfilter off", "br_netfilter on"])
async def bridged(net: network.Network, request: pytest.FixtureRequest) -> network.Network:
    sysctl.write("bridge/bridge-nf-call-iptables", request.param)
    assert sysctl.read("bridge/bridge-nf-call-iptables") == request.param
    return net


async def attach(net: network.Network, name: str) -> pods.Pod:
    return pods.Pod(await net.attach(f"uid-{name}", f"default/{name}"))


@pytest.fixture
async def two(bridged: network.Network) -> AsyncIterator[tuple[pods.Pod, pods.Pod]]:
    a, b = await attach(bridged, "a"), await attach(bridged, "b")
    async with pods.serving(a), pods.serving(b):
        yield a, b


async def test_pods_reach_each_other_under_their_own_addresses(
    two: tuple[pods.Pod, pods.Pod],
) -> None:
    a, b = two
    assert await pods.ask(a.pin, b.ip, 8080) == b.ip
    assert b.sources == [a.ip]


async def test_a_service_leads_to_a_pod_and_keeps_the_source(
    bridged: network.Network, two: tuple[pods.Pod, pods.Pod]
) -> None:
    a, b = two
    await pods.load(bridged, pods.service(pods.endpoint(b)))
    assert await pods.ask(a.pin, pods.SERVICE_IP, 80) == b.ip
    assert await pods.ask(None, pods.SERVICE_IP, 80) == b.ip
    assert b.sources == [a.ip, bridged.gateway]


async def test_a_pod_reaches_itself_through_its_service(
    bridged: network.Network, two: tuple[pods.Pod, pods.Pod]
) -> None:
    a, _ = two
    await pods.load(bridged, pods.service(pods.endpoint(a)))
    assert await pods.ask(a.pin, pods.SERVICE_IP, 80) == a.ip
    assert await pods.ask(a.pin, conftest.NODE, 31234) == a.ip


async def test_a_node_port_answers_on_every_address(
    bridged: network.Network, two: tuple[pods.Pod, pods.Pod], device: conftest.Device
) -> None:
    a, b = two
    await pods.load(bridged, pods.service(pods.endpoint(b)))
    assert await pods.ask(None, "127.0.0.1", 31234) == b.ip
    assert await pods.ask(None, conftest.NODE, 31234) == b.ip
    assert await pods.ask(a.pin, conftest.NODE, 31234) == b.ip
    assert await pods.ask(device.neighbour, conftest.NODE, 31234) == b.ip
    assert b.sources[-1] == conftest.NEIGHBOUR, "the client's address is kept"


@pytest.mark.parametrize("policy", ["cluster", "local"])
async def test_external_addresses_lead_to_a_pod(
    net: network.Network, device: conftest.Device, policy: str
) -> None:
    a = await attach(net, "a")
    port = pods.service(pods.endpoint(a), lb_ips=(conftest.NODE,), external_local=policy == "local")
    async with pods.serving(a):
        await pods.load(net, port)
        assert await pods.ask(device.neighbour, conftest.NODE, 80) == a.ip
        assert a.sources == [conftest.NEIGHBOUR]


async def test_pods_leave_the_device_under_its_address(
    net: network.Network, device: conftest.Device
) -> None:
    a = await attach(net, "a")
    listening = pods.open_socket(device.neighbour)
    with listening:
        listening.bind((conftest.NEIGHBOUR, 9000))
        listening.listen()
        loop = asyncio.get_running_loop()
        client = pods.open_socket(a.pin)
        with client:
            await asyncio.wait_for(loop.sock_connect(client, (conftest.NEIGHBOUR, 9000)), 3)
            accepted, source = await loop.sock_accept(listening)
            accepted.close()
    assert source[0] == conftest.NODE


async def test_a_service_may_lead_off_the_device(
    net: network.Network, device: conftest.Device
) -> None:
    a = await attach(net, "a")
    outside = pods.Pod(network.Sandbox("x", "", conftest.NEIGHBOUR, str(device.neighbour), ""))
    remote = rules.Endpoint(conftest.NEIGHBOUR, 8080, node_local=False)
    async with pods.serving(outside):
        await pods.load(net, pods.service(remote))
        for pin in (a.pin, None, device.neighbour):
            target = (conftest.NODE, 31234) if pin == device.neighbour else (pods.SERVICE_IP, 80)
            assert await pods.ask(pin, *target) == conftest.NEIGHBOUR
    assert set(outside.sources) == {conftest.NODE}


async def test_without_endpoints_everybody_is_refused_at_once(
    bridged: network.Network, device: conftest.Device
) -> None:
    a = await attach(bridged, "a")
    await pods.load(bridged, pods.service(lb_ips=(conftest.NODE,)))
    for pin, address, port in (
        (a.pin, pods.SERVICE_IP, 80),
        (None, pods.SERVICE_IP, 80),
        (a.pin, "10.43.99.99", 443),
        (None, "10.43.99.99", 443),
        (a.pin, conftest.NODE, 31234),
        (None, "127.0.0.1", 31234),
        (device.neighbour, conftest.NODE, 31234),
        (device.neighbour, conftest.NODE, 80),
    ):
        with pytest.raises(ConnectionRefusedError):
            await pods.ask(pin, address, port, seconds=0.9)


async def test_udp_without_endpoints_is_refused_too(net: network.Network) -> None:
    a = await attach(net, "a")
    client = pods.open_socket(a.pin, socket.SOCK_DGRAM)
    with client:
        client.connect((pods.SERVICE_IP, 53))
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 10), 2)


async def test_a_pod_that_is_gone_is_unreachable_at_once(net: network.Network) -> None:
    a, b = await attach(net, "a"), await attach(net, "b")
    await net.detach(b.sandbox.uid)
    with pytest.raises(OSError, match="Errno 113"):
        await pods.ask(a.pin, b.ip, 8080, seconds=0.9)


async def test_connections_are_spread_evenly_over_five_replicas(net: network.Network) -> None:
    replicas = [await attach(net, str(n)) for n in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        for pod in replicas:
            await stack.enter_async_context(pods.serving(pod))
        await pods.load(net, pods.service(*(pods.endpoint(pod) for pod in replicas)))
        count = 2000
        found = await pods.ask_many(None, pods.SERVICE_IP, 80, count)
    expected = count / 5
    chi_square = sum((found[pod.ip] - expected) ** 2 / expected for pod in replicas)
    # Four degrees of freedom: above 23.5 by chance once in 10,000 runs.
    assert chi_square < 23.5, found


async def test_affinity_sticks_to_the_client_and_follows_when_its_endpoint_goes(
    net: network.Network,
) -> None:
    replicas = [await attach(net, str(n)) for n in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for pod in replicas:
            await stack.enter_async_context(pods.serving(pod))
        ends = [pods.endpoint(pod) for pod in replicas]
        state = await pods.load(net, pods.service(*ends, affinity_seconds=60))
        client = replicas[0].pin
        first = await pods.ask_many(client, pods.SERVICE_IP, 80, 20)
        assert len(first) == 1
        # A restart of the process keeps the client where it is.
        state = await pods.load(net, pods.service(*ends, affinity_seconds=60))
        assert await pods.ask_many(client, pods.SERVICE_IP, 80, 20) == first
        left = [end for end in ends if end.ip not in first]
        await pods.change(net, state, pods.service(*left, affinity_seconds=60))
        after = await pods.ask_many(client, pods.SERVICE_IP, 80, 20)
        assert len(after) == 1
        assert after.keys() != first.keys()


async def test_affinity_ends_when_a_client_stays_away(net: network.Network) -> None:
    replicas = [await attach(net, str(n)) for n in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for pod in replicas:
            await stack.enter_async_context(pods.serving(pod))
        ends = [pods.endpoint(pod) for pod in replicas]
        await pods.load(net, pods.service(*ends, affinity_seconds=1))
        client = replicas[0].pin
        first = await pods.ask_many(client, pods.SERVICE_IP, 80, 10)
        assert len(first) == 1

        async def remembered() -> bool:
            listed = await net.table.listing(elements=True) or []
            sets = [entry["set"] for entry in listed if "set" in entry]
            return any(each.get("elem") for each in sets if each["name"].startswith("aff-1s-"))

        async def forgotten() -> None:
            async with asyncio.timeout(10):
                while await remembered():
                    await asyncio.sleep(0.05)

        assert await remembered()
        for _ in range(12):  # each draw is another's in two of three cases
            await forgotten()
            later = await pods.ask_many(client, pods.SERVICE_IP, 80, 5)
            assert len(later) == 1
            if later.keys() != first.keys():
                break
        else:
            pytest.fail("the client is never sent elsewhere")


async def test_established_connections_outlive_every_change_of_rules(
    net: network.Network,
) -> None:
    a, b = await attach(net, "a"), await attach(net, "b")
    listening = pods.open_socket(a.pin)
    with listening, pods.open_socket(b.pin) as client:
        listening.bind(("0.0.0.0", 8080))
        listening.listen()
        state = await pods.load(net, pods.service(pods.endpoint(a)))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (pods.SERVICE_IP, 80))
        accepted, _ = await loop.sock_accept(listening)
        with accepted:
            accepted.setblocking(False)
            await pods.change(net, state, pods.service())
            _, text = rules.replace(net.layout, [pods.service(pods.endpoint(b))], net.routed)
            await net.table.apply(text)
            await loop.sock_sendall(client, b"still here")
            assert await asyncio.wait_for(loop.sock_recv(accepted, 100), 2) == b"still here"


async def test_a_host_port_leads_to_its_pod(
    bridged: network.Network, device: conftest.Device
) -> None:
    a, b = await attach(bridged, "a"), await attach(bridged, "b")
    port = rules.HostPort("uid-a", "TCP", 8088, a.ip, 8080)
    bound = rules.HostPort("uid-a", "TCP", 8089, a.ip, 8080, host_ip="127.0.0.1")
    async with pods.serving(a):
        await pods.load(bridged, port, bound)
        for pin, address in (
            (None, "127.0.0.1"),
            (b.pin, conftest.NODE),
            (a.pin, conftest.NODE),
            (device.neighbour, conftest.NODE),
        ):
            assert await pods.ask(pin, address, 8088) == a.ip
        assert await pods.ask(None, "127.0.0.1", 8089) == a.ip
        with pytest.raises(ConnectionRefusedError):
            await pods.ask(b.pin, conftest.NODE, 8089)


async def test_pods_cannot_use_the_way_of_localhost(net: network.Network) -> None:
    """route_localnet opens 127.0.0.0/8 on the bridge; pods are kept out (CVE-2020-8558)."""
    a = await attach(net, "a")
    secret = pods.open_socket(None)
    with secret:
        secret.bind(("127.0.0.1", 7777))
        secret.listen()

        def reroute() -> None:
            conftest.sh(
                "ip addr del 127.0.0.1/8 dev lo && "
                f"ip route add 127.0.0.1 via {net.gateway} dev eth0 onlink src {a.ip} && "
                "sysctl -qw net.ipv4.conf.eth0.route_localnet=1 && ip link set lo down"
            )

        netns.run_in(a.pin, reroute)
        loop = asyncio.get_running_loop()
        with pods.open_socket(a.pin) as client, pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_connect(client, ("127.0.0.1", 7777)), 0.5)
        conftest.sh("nft flush chain ip edgeorch localhost-guard")
        with pods.open_socket(a.pin) as client:
            await asyncio.wait_for(loop.sock_connect(client, ("127.0.0.1", 7777)), 2)


async def test_forwarding_is_for_pods_only(
    net: network.Network, device: conftest.Device, tmp_path: pathlib.Path
) -> None:
    """The uplink forwards since pods need it; others cannot use the device as a router."""
    far = tmp_path / "pins" / "far"
    netns.create(far)
    conftest.sh(f"ip link add up1 type veth peer name eth8 && ip link set eth8 netns {far}")
    conftest.sh("ip addr add 198.51.100.1/24 dev up1 && ip link set up1 up")
    netns.run_in(
        far,
        lambda: conftest.sh(
            "ip addr add 198.51.100.2/24 dev eth8 && ip link set eth8 up && "
            "ip route add default via 198.51.100.1"
        ),
    )
    netns.run_in(
        device.neighbour,
        lambda: conftest.sh(f"ip route add 198.51.100.0/24 via {conftest.NODE}"),
    )
    listener = pods.Pod(network.Sandbox("x", "", "198.51.100.2", str(far), ""))
    async with pods.serving(listener), pods.running(net):
        await pods.until(lambda: net.routed == {"up0", "up1"})
        with pytest.raises(TimeoutError):
            await pods.ask(device.neighbour, "198.51.100.2", 8080, seconds=0.5)
        conftest.sh("nft flush set ip edgeorch routed-interfaces")
        assert await pods.ask(device.neighbour, "198.51.100.2", 8080) == "198.51.100.2", (
            "the way itself is open"
        )
