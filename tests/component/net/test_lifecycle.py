"""The pod network survives restarts, crashes at any line, and other people's hands."""

from __future__ import annotations

import asyncio
import errno
import pathlib
import socket
import time

import pytest

from edgeorch.core import service_rules as rules
from edgeorch.net import announce, links, netns, network
from tests.component.net import conftest, pods
from tests.component.net.conftest import sh

pytestmark = pytest.mark.system


async def restarted(device: conftest.Device, **changes: str) -> network.Network:
    made = network.Network(device.settings(**changes))
    await made.start()
    return made


def link_names() -> set[str]:
    """From the kernel, since /sys shows the namespace in which it was mounted."""
    return {line.split(":")[1].strip().split("@")[0] for line in sh("ip -o link").splitlines()}


async def test_a_pod_is_attached_in_a_few_milliseconds(net: network.Network) -> None:
    await net.attach("warm", "default/warm")
    took = []
    for n in range(5):
        started = time.perf_counter()
        await net.attach(f"uid-{n}", "default/p")
        took.append(time.perf_counter() - started)
    # 7 ms on an idle machine; tests run side by side.
    assert sorted(took)[0] < 0.05, took


async def test_attaching_twice_gives_the_same_sandbox(net: network.Network) -> None:
    first = await net.attach("uid-1", "default/a")
    assert await net.attach("uid-1", "default/a") == first


async def test_pods_attached_at_the_same_time_do_not_disturb_each_other(
    net: network.Network,
) -> None:
    made = await asyncio.gather(*(net.attach(f"uid-{n}", f"default/{n}") for n in range(10)))
    assert len({sandbox.ip for sandbox in made}) == 10
    async with pods.serving(pods.Pod(made[3])):
        assert await pods.ask(pathlib.Path(made[7].netns_path), made[3].ip, 8080) == made[3].ip


async def test_detaching_leaves_nothing_and_may_be_repeated(net: network.Network) -> None:
    before, routes = link_names(), sh("ip route")
    sandbox = await net.attach("uid-1", "default/a")
    assert sandbox.host_ifname in link_names()
    await net.detach("uid-1")
    await net.detach("uid-1")
    assert link_names() == before
    assert sh("ip route").replace(" linkdown", "") == routes.replace(" linkdown", "")
    assert not pathlib.Path(sandbox.netns_path).exists()
    assert net.sandboxes() == {}


async def test_a_new_process_adopts_pods_and_goes_on_after_their_addresses(
    net: network.Network, device: conftest.Device
) -> None:
    a = pods.Pod(await net.attach("uid-a", "default/a"))
    b = await net.attach("uid-b", "default/b")
    await net.attach("uid-gone", "default/gone")
    await net.detach("uid-gone")
    await pods.load(net, pods.service(pods.endpoint(a)))
    async with pods.serving(a):
        again = await restarted(device)
        assert again.sandboxes() == {"uid-a": a.sandbox, "uid-b": b}
        assert await pods.ask(pathlib.Path(b.netns_path), pods.SERVICE_IP, 80) == a.ip
        third = await again.attach("uid-c", "default/c")
        assert third.ip == "10.42.0.5", "the address of a pod that has just gone rests"
        await again.close()


@pytest.mark.parametrize(
    "leftover",
    ["pin without namespace", "namespace", "link", "everything but the record", "stale scratch"],
)
async def test_attach_succeeds_after_an_attach_that_was_cut_short(
    net: network.Network, device: conftest.Device, leftover: str
) -> None:
    pin = device.run_dir / "netns" / "uid-a"
    if leftover == "pin without namespace":
        pin.touch()
    elif leftover == "namespace":
        netns.create(pin)
    elif leftover == "link":
        sh(f"ip link add {links.host_name('uid-a')} type veth peer name tmp0")
    elif leftover == "everything but the record":
        await net.attach("uid-a", "default/a")
        (device.run_dir / "sandboxes" / "uid-a.json").unlink()
    else:
        await net.attach("uid-z", "default/z")
        await net.detach("uid-z")
        (device.run_dir / "sandboxes" / ".uid-a.json.new").write_bytes(b"{")
    again = await restarted(device)
    assert "uid-a" not in again.sandboxes()
    a = pods.Pod(await again.attach("uid-a", "default/a"))
    async with pods.serving(a):
        assert await pods.ask(None, a.ip, 8080) == a.ip
    await again.close()


async def test_sweeping_removes_what_belongs_to_no_pod(
    net: network.Network, device: conftest.Device
) -> None:
    kept = await net.attach("kept", "default/kept")
    before, routes = link_names(), sh("ip route")
    await net.attach("gone", "default/gone")
    (device.run_dir / "sandboxes" / "gone.json").unlink()
    netns.create(device.run_dir / "netns" / "half")
    sh(f"ip link add {links.host_name('orphan')} type veth peer name veother00")
    again = await restarted(device)
    await again.sweep({"kept"})
    assert again.sandboxes() == {"kept": kept}
    assert {pin.name for pin in (device.run_dir / "netns").iterdir()} == {"kept"}
    assert link_names() == before
    assert sh("ip route") == routes
    await again.close()


async def test_records_that_cannot_be_trusted_are_dropped(
    net: network.Network, device: conftest.Device
) -> None:
    gone = await net.attach("gone", "default/gone")
    netns.remove(pathlib.Path(gone.netns_path))
    (device.run_dir / "sandboxes" / "torn.json").write_bytes(b'{"uid": ')
    again = await restarted(device)
    assert again.health() is None
    assert again.sandboxes() == {}
    assert list((device.run_dir / "sandboxes").glob("*.json")) == []
    await again.close()


async def test_a_deleted_bridge_is_made_again_and_pods_stay_connected(
    net: network.Network,
) -> None:
    a, b = [pods.Pod(await net.attach(f"uid-{n}", f"default/{n}")) for n in "ab"]
    async with pods.running(net), pods.serving(a):
        sh("ip link delete edgeorch0")
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await pods.ask(b.pin, a.ip, 8080, seconds=0.5) == a.ip
                    break
                except OSError:
                    await asyncio.sleep(0.02)
    assert net.health() is None


async def test_a_deleted_pod_link_is_made_again_at_the_next_start(
    net: network.Network, device: conftest.Device
) -> None:
    a = pods.Pod(await net.attach("uid-a", "default/a"))
    sh(f"ip link delete {a.sandbox.host_ifname}")
    again = await restarted(device)
    async with pods.serving(a):
        assert await pods.ask(None, a.ip, 8080) == a.ip
    await again.close()


async def test_a_flushed_ruleset_is_put_back_and_the_owner_of_services_told(
    net: network.Network,
) -> None:
    told = asyncio.Event()
    net.on_table_lost(told.set)
    before = sh("nft -s list ruleset")
    async with pods.running(net):
        sh("nft flush ruleset")
        await asyncio.wait_for(told.wait(), 5)
        await pods.until(lambda: sh("nft -s list ruleset") == before)


async def test_a_table_that_goes_while_we_look_at_it_is_not_taken_for_whole(
    net: network.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()
    net.on_table_lost(told.set)
    names = net.table.names

    async def flushed_just_after() -> dict[str, frozenset[str]] | None:
        found = await names()
        sh("nft flush ruleset")
        return found

    monkeypatch.setattr(net.table, "names", flushed_just_after)
    await net._ensure()
    assert told.is_set()
    assert net.health() is None


async def test_our_own_transactions_wake_nobody(net: network.Network) -> None:
    told = asyncio.Event()
    net.on_table_lost(told.set)
    async with pods.running(net):
        a = pods.Pod(await net.attach("uid-a", "default/a"))
        state = await pods.load(net, pods.service(pods.endpoint(a)))
        await pods.change(net, state, pods.service())
        _, text = rules.replace(net.layout, [pods.service()], net.routed)
        await net.table.apply(text)
        await asyncio.sleep(0.2)
    assert not told.is_set()


async def test_node_addresses_follow_the_device(net: network.Network) -> None:
    assert net.node_addresses.internal == conftest.NODE
    async with pods.running(net):
        sh("ip addr del 192.0.2.10/24 dev up0 && ip addr add 192.0.2.77/24 dev up0")
        await pods.until(lambda: net.node_addresses.internal == "192.0.2.77")
        sh("ip link set up0 down")
        await pods.until(lambda: net.node_addresses.internal == "")
        assert net.health() is None, "pods go on without any uplink"
        sh("ip link set up0 up mtu 1400 && ip route add default via 192.0.2.1")
        await pods.until(lambda: net.node_addresses.mtu == 1400)
        assert net.node_addresses.internal == "192.0.2.77"
        pod = await net.attach("uid-a", "default/a")
        assert "mtu 1400" in sh(f"ip link show {pod.host_ifname}")
        inside = netns.run_in(pathlib.Path(pod.netns_path), lambda: sh("ip link show eth0"))
        assert "mtu 1400" in inside


@pytest.mark.parametrize(
    ("others", "message"),
    [
        pytest.param(
            "ip link add edgeorch0 type bridge",
            "interface edgeorch0 exists and is not edgeorch's: choose another name with "
            "network.bridge",
            id="bridge name",
        ),
        pytest.param(
            "ip addr add 10.42.0.9/16 dev up0",
            "network.pod_cidr 10.42.0.0/24 overlaps the route 10.42.0.0/16 on up0: choose another",
            id="pod range",
        ),
        pytest.param(
            "ip route add 10.43.7.0/24 via 192.0.2.1",
            "network.service_cidr 10.43.0.0/16 overlaps the route 10.43.7.0/24 on up0",
            id="service range",
        ),
    ],
)
async def test_a_clash_is_told_with_its_fix_and_ends_by_itself(
    device: conftest.Device, others: str, message: str
) -> None:
    sh(others)
    made = await restarted(device)
    try:
        assert message in (made.health() or "")
        with pytest.raises(network.NetworkError, match="cannot attach default/a"):
            await made.attach("uid-a", "default/a")
        undo = others.replace(" add ", " del ").replace("edgeorch0 type bridge", "edgeorch0")
        async with pods.running(made):
            sh(undo)
            await pods.until(lambda: made.health() is None)
        await made.attach("uid-a", "default/a")
    finally:
        await made.uninstall()
        await made.close()


async def test_uninstalling_gives_the_device_back_as_it_was(device: conftest.Device) -> None:
    def everything() -> str:
        switches = "cat /proc/sys/net/ipv4/conf/{up0,all,default}/{forwarding,send_redirects}"
        return sh(f"ip -d addr; ip route show table all; nft list ruleset; bash -c '{switches}'")

    def settled() -> bool:
        """The kernel has given the uplink its IPv6 address, with all routes."""
        shown = sh("ip -6 addr show dev up0 scope link")
        return "fe80" in shown and "tentative" not in shown

    await pods.until(settled)
    before = "".join(line for line in everything().splitlines() if "valid_lft" not in line)
    made = await restarted(device)
    await made.attach("uid-a", "default/a")
    sh("nft add table ip other && nft add chain ip other c")
    await made.uninstall()
    assert "other" in sh("nft list ruleset")
    sh("nft delete table ip other")
    await made.close()
    after = "".join(line for line in everything().splitlines() if "valid_lft" not in line)
    assert before == after
    assert list((device.run_dir).iterdir()) == []


async def test_a_foreign_filter_that_stops_pods_is_told_and_left_alone(
    device: conftest.Device,
) -> None:
    sh("nft 'add table ip filter; add chain ip filter FORWARD "
       "{ type filter hook forward priority 0; policy drop; }'")  # fmt: skip
    made = await restarted(device)
    try:
        assert made.health() is None
        assert "iptables -I FORWARD -i edgeorch0 -j ACCEPT" in made.blocked[0]
        assert "policy drop" in sh("nft list chain ip filter FORWARD")
        await made.close()
        sh("nft add rule ip filter FORWARD iifname edgeorch0 counter accept")
        made = await restarted(device)
        assert made.blocked == ()
    finally:
        await made.uninstall()
        await made.close()
        sh("nft delete table ip filter")


async def test_addresses_of_a_pool_are_announced_and_again_when_an_interface_is_back(
    net: network.Network, device: conftest.Device
) -> None:
    def listen() -> socket.socket:
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        heard.bind(("eth9", announce.ETH_P_ARP))
        heard.setblocking(False)
        return heard

    def knock() -> int:
        with socket.socket() as client:
            client.settimeout(5)
            return client.connect_ex(("192.0.2.50", 9))

    async def announced(ip: str) -> None:
        """Broadcast: the sender's address is the one asked for."""
        packed = socket.inet_aton(ip)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            while True:
                frame = await loop.sock_recv(heard, 100)
                if frame[28:32] == frame[38:42] == packed:
                    assert frame[:6] == b"\xff" * 6
                    return

    with netns.run_in(device.neighbour, listen) as heard:
        async with pods.running(net):
            net.hold(frozenset({"192.0.2.50"}))
            await announced("192.0.2.50")
            assert netns.run_in(device.neighbour, knock) == errno.ECONNREFUSED
            sh("ip link set up0 down")
            await pods.until(lambda: net.node_addresses.internal == "")
            sh("ip link set up0 up")
            await announced("192.0.2.50")
            net.hold(frozenset())
            await pods.until(lambda: "192.0.2.50" not in sh("ip addr"))


async def test_a_full_range_is_told(device: conftest.Device) -> None:
    made = await restarted(device, pod_cidr="10.42.0.0/29")
    try:
        for n in range(5):
            await made.attach(f"uid-{n}", "default/p")
        with pytest.raises(network.NetworkError, match=r"no address is free in network\.pod_cidr"):
            await made.attach("uid-x", "default/x")
        await made.detach("uid-2")
        assert (await made.attach("uid-x", "default/x")).ip == "10.42.0.4"
    finally:
        await made.uninstall()
        await made.close()
