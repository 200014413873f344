"""The kernel takes every text we make, and small steps lead it to the same table."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from typing import Any

import pytest

from edgeorch.core import service_rules as rules
from edgeorch.net import conntrack, network, nft
from tests.component.net import pods

pytestmark = pytest.mark.system


def canonical(value: Any) -> Any:
    """A listing without handles and without the order of hash tables."""
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items() if k not in ("handle", "metainfo")}
    if isinstance(value, list):
        return sorted((canonical(v) for v in value), key=json.dumps)
    return value


async def listed(net: network.Network) -> Any:
    return canonical(await net.table.listing(elements=True))


def random_service(dice: random.Random) -> rules.ServicePort:
    number = dice.randrange(4)
    ends = [
        rules.Endpoint(
            f"10.42.0.{dice.randrange(2, 6)}",
            dice.choice([80, 8080]),
            node_local=dice.random() < 0.7,
            ready=dice.random() < 0.7,
            terminating=dice.random() < 0.3,
        )
        for _ in range(dice.randrange(4))
    ]
    return rules.ServicePort(
        namespace="0-ns",
        name=f"s{number}",
        port_name=dice.choice(["", "http"]),
        protocol=dice.choice(["TCP", "UDP", "SCTP"]),
        port=dice.choice([80, 443]),
        cluster_ips=(f"10.43.0.{number + 10}",),
        node_port=dice.choice([0, 30000 + number]),
        external_ips=dice.choice([(), ("198.51.100.7",)]),
        affinity_seconds=dice.choice([0, 0, 60, 10800]),
        internal_local=dice.random() < 0.3,
        external_local=dice.random() < 0.3,
        endpoints=tuple({(e.ip, e.port): e for e in ends}.values()),
    )


def random_item(dice: random.Random) -> rules.Item:
    if dice.random() < 0.8:
        return random_service(dice)
    host_ip = dice.choice(["", "192.0.2.10"])
    return rules.HostPort("uid", "TCP", dice.choice([8080, 8081]), "10.42.0.3", 80, host_ip)


@pytest.mark.parametrize("seed", range(4))
async def test_small_steps_lead_to_the_same_table(net: network.Network, seed: int) -> None:
    dice = random.Random(seed)
    items: dict[rules.Key, rules.Item] = {}
    state = await pods.load(net)
    for _ in range(25):
        item = random_item(dice)
        gone = dice.random() < 0.3 and bool(items)
        key = dice.choice(sorted(items)) if gone else item.key
        changes: dict[rules.Key, rules.Item | None] = {key: None if gone else item}
        items.pop(key, None)
        if not gone:
            items[key] = item
        state, text = rules.diff(state, changes, net.layout)
        await net.table.check(text)
        await net.table.apply(text)
        if dice.random() < 0.3:
            state, text = rules.collect(state, net.layout)
            await net.table.apply(text)
    state, text = rules.collect(state, net.layout)
    await net.table.apply(text)
    stepwise = await listed(net)
    _, text = rules.replace(net.layout, items.values(), net.routed)
    await net.table.apply(text)
    assert await listed(net) == stepwise
    await pods.load(net, *items.values())
    assert await listed(net) == stepwise


async def test_a_refused_transaction_changes_nothing_and_is_explained(
    net: network.Network,
) -> None:
    await pods.load(net, pods.service(rules.Endpoint("10.42.0.9", 80)))
    before = await listed(net)
    name = net.layout.name
    with pytest.raises(nft.NftError, match="Could not process rule"):
        await net.table.apply(
            f"add chain {name} fine\nadd rule {name} fine accept\ndelete chain {name} absent\n"
        )
    assert await listed(net) == before
    with pytest.raises(nft.NftError, match="syntax error"):
        await net.table.check("add nonsense\n")


async def test_an_absent_table_is_told_apart_from_a_failure(net: network.Network) -> None:
    await net.table.delete()
    await net.table.delete()
    assert await net.table.names() is None


async def test_a_frame_of_another_version_is_replaced(net: network.Network) -> None:
    name = net.layout.name
    await net.table.delete()
    await net.table.apply(
        f"add table {name}\nadd map {name} service-ips {{ type ipv4_addr : verdict; }}\n"
    )
    again = network.Network(
        network.Settings(run_dir=net._settings.run_dir)  # the same device
    )
    await again.start()
    assert again.health() is None
    names = await again.table.names()
    assert names is not None
    assert "nat-prerouting" in names["chain"]
    await again.close()


async def test_one_change_costs_much_the_same_with_many_services(net: network.Network) -> None:
    def many(count: int) -> list[rules.ServicePort]:
        return [
            pods.service(
                *(rules.Endpoint(f"10.42.0.{e}", 80) for e in (2, 3, 4)),
                name=f"s{n}",
                cluster_ips=(f"10.43.{n // 250}.{n % 250 + 1}",),
                node_port=30000 + n,
            )
            for n in range(count)
        ]

    async def one_change(count: int) -> float:
        items = many(count)
        state = await pods.load(net, *items)
        took = []
        for n in range(8):
            changed = pods.service(
                rules.Endpoint(f"10.42.0.{n + 2}", 80), name="s0", cluster_ips=("10.43.0.1",),
                node_port=30000,
            )  # fmt: skip
            started = time.perf_counter()
            state = await pods.change(net, state, changed)
            took.append(time.perf_counter() - started)
        return sorted(took)[2]

    few, lots = await one_change(10), await one_change(1000)
    print(f"one endpoint change: {few * 1e3:.1f} ms with 10, {lots * 1e3:.1f} ms with 1,000")
    assert lots < few * 8 + 0.05


async def test_stale_udp_flows_are_forgotten_and_others_left_alone(net: network.Network) -> None:
    sandboxes = [await net.attach(f"uid-{n}", "default/p") for n in range(3)]
    client, first, second = (pods.Pod(sandbox) for sandbox in sandboxes)
    loop = asyncio.get_running_loop()
    port = {"protocol": "UDP", "port_name": "dns"}
    state = await pods.load(net, pods.service(pods.endpoint(first, 53), **port))
    servers = [pods.open_socket(pod.pin, socket.SOCK_DGRAM) for pod in (first, second)]
    asking = pods.open_socket(client.pin, socket.SOCK_DGRAM)
    direct = pods.open_socket(client.pin, socket.SOCK_DGRAM)
    try:
        for server in servers:
            server.bind(("0.0.0.0", 53))
        direct.connect((first.ip, 53))
        direct.send(b"direct")
        asking.connect((pods.SERVICE_IP, 80))
        asking.send(b"one")
        assert await asyncio.wait_for(loop.sock_recv(servers[0], 10), 2) == b"direct"
        assert await asyncio.wait_for(loop.sock_recv(servers[0], 10), 2) == b"one"
        await pods.change(net, state, pods.service(pods.endpoint(second, 53), **port))

        def stale(flow: conntrack.Flow) -> bool:
            return flow.destination == pods.SERVICE_IP and flow.answerer != second.ip

        assert await asyncio.to_thread(conntrack.delete, stale) == 1
        assert await asyncio.to_thread(conntrack.delete, stale) == 0
        asking.send(b"two")
        assert await asyncio.wait_for(loop.sock_recv(servers[1], 10), 2) == b"two"
    finally:
        for opened in (*servers, asking, direct):
            opened.close()
