"""Services as nftables text: who is sent where, and that small steps lead to the same table."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import service_rules as rules
from edgeorch.core import service_table

LAYOUT = service_table.Layout(pod_cidr="10.42.0.0/24", service_cidr="10.43.0.0/16")
A = rules.Endpoint("10.42.0.2", 8080)
B = rules.Endpoint("10.42.0.3", 8080)
REMOTE = rules.Endpoint("192.0.2.50", 80, node_local=False)
DYING = rules.Endpoint("10.42.0.4", 8080, ready=False, serving=True, terminating=True)
DEAD = rules.Endpoint("10.42.0.5", 8080, ready=False, serving=False, terminating=True)
PICK = "numgen random mod 2 map { 0 : 10.42.0.2 . 8080, 1 : 10.42.0.3 . 8080 }"
PUBLISHED = rules.Endpoint("10.42.0.7", 8080, ready=True, serving=False, terminating=True)
UNREADY = rules.Endpoint("10.42.0.6", 8080, ready=False, serving=False)


def service(*endpoints: rules.Endpoint, **changes: Any) -> rules.ServicePort:
    given: dict[str, Any] = {
        "namespace": "default",
        "name": "web",
        "port_name": "http",
        "protocol": "TCP",
        "port": 80,
        "cluster_ips": ("10.43.0.5",),
        "node_port": 30080,
        "endpoints": endpoints,
    }
    return rules.ServicePort(**(given | changes))


@pytest.mark.parametrize(
    ("endpoints", "chosen"),
    [
        pytest.param([A, DYING, UNREADY], [A], id="ready ones first"),
        pytest.param([DYING, DEAD, UNREADY], [DYING], id="terminating as a last resort"),
        pytest.param([DEAD, UNREADY], [], id="none"),
        pytest.param([A, PUBLISHED, DYING], [A, PUBLISHED], id="published however ready"),
    ],
)
def test_who_is_sent_to(endpoints: list[rules.Endpoint], chosen: list[rules.Endpoint]) -> None:
    assert tuple(chosen) == rules.usable(endpoints)


def test_a_service_is_a_chain_and_keys_that_lead_to_it() -> None:
    parts = rules.render_item(service(A, B), LAYOUT)
    assert parts.chains == {
        "svc-default/web/tcp/http": (
            "meta mark set meta mark | 0x4000",
            f"meta l4proto tcp dnat ip to {PICK}",
        )
    }
    assert parts.elements == {
        ("service-ips", "10.43.0.5 . tcp . 80"): "goto svc-default/web/tcp/http",
        ("node-ports", "tcp . 30080"): "goto svc-default/web/tcp/http",
        ("hairpin", "10.42.0.2 . 10.42.0.2"): "",
        ("hairpin", "10.42.0.3 . 10.42.0.3"): "",
    }


def test_a_service_without_endpoints_refuses_everywhere() -> None:
    parts = rules.render_item(service(UNREADY, external_ips=("198.51.100.7",)), LAYOUT)
    assert parts.chains == {}
    assert parts.elements == {
        ("unserved-ips", "10.43.0.5 . tcp . 80"): "goto refuse",
        ("unserved-ips", "198.51.100.7 . tcp . 80"): "goto refuse",
        ("unserved-ports", "tcp . 30080"): "goto refuse",
    }


@pytest.mark.parametrize(
    ("port", "element", "value"),
    [
        pytest.param(
            service(REMOTE, external_local=True),
            ("unserved-ports", "tcp . 30080"),
            "drop",
            id="external Local with only others: dropped",
        ),
        pytest.param(
            service(REMOTE, internal_local=True),
            ("unserved-ips", "10.43.0.5 . tcp . 80"),
            "drop",
            id="internal Local with only others: dropped",
        ),
        pytest.param(
            service(A, REMOTE, external_local=True),
            ("node-ports", "tcp . 30080"),
            "goto ext-default/web/tcp/http",
            id="external Local has a chain of its own",
        ),
        pytest.param(
            service(A, REMOTE, internal_local=True),
            ("service-ips", "10.43.0.5 . tcp . 80"),
            "goto int-default/web/tcp/http",
            id="internal Local has a chain of its own",
        ),
        pytest.param(
            service(A, B, external_local=True, internal_local=True),
            ("node-ports", "tcp . 30080"),
            "goto svc-default/web/tcp/http",
            id="on one device the policies rarely matter",
        ),
    ],
)
def test_traffic_policies(port: rules.ServicePort, element: rules.Element, value: str) -> None:
    assert rules.render_item(port, LAYOUT).elements[element] == value


def test_external_local_still_serves_the_device_itself_from_everywhere() -> None:
    chain = rules.render_item(service(A, REMOTE, external_local=True), LAYOUT).chains[
        "ext-default/web/tcp/http"
    ]
    assert chain == (
        "ip saddr 10.42.0.0/24 goto svc-default/web/tcp/http",
        "fib saddr type local goto svc-default/web/tcp/http",
        "meta mark set meta mark | 0x4000",
        "meta l4proto tcp dnat to 10.42.0.2:8080",
    )


def test_affinity_remembers_clients_for_each_endpoint() -> None:
    parts = rules.render_item(service(A, B, affinity_seconds=60, node_port=0), LAYOUT)
    tail = "default/web/tcp/http/10.42.0.2/8080"
    assert parts.sets[f"aff-60s-{tail}"] == (
        "{ type ipv4_addr; flags dynamic,timeout; timeout 60s; }"
    )
    assert parts.chains[f"ep-{tail}"] == (
        "meta mark set meta mark | 0x4000",
        f"update @aff-60s-{tail} {{ ip saddr }}",
        "meta l4proto tcp dnat to 10.42.0.2:8080",
    )
    assert parts.chains["svc-default/web/tcp/http"][0] == (
        f"ip saddr @aff-60s-{tail} goto ep-{tail}"
    )


def test_other_families_are_left_to_their_own_table() -> None:
    six = service_table.Layout(pod_cidr="fd00:42::/64", service_cidr="fd00:43::/112")
    both = service(
        A, rules.Endpoint("fd00:42::2", 8080), cluster_ips=("10.43.0.5", "fd00:43::5"), node_port=0
    )
    parts = rules.render_item(both, six)
    assert parts.chains["svc-default/web/tcp/http"][1] == (
        "meta l4proto tcp dnat to [fd00:42::2]:8080"
    )
    assert set(parts.elements) == {
        ("service-ips", "fd00:43::5 . tcp . 80"),
        ("hairpin", "fd00:42::2 . fd00:42::2"),
    }


@pytest.mark.parametrize(
    ("port", "element"),
    [
        pytest.param(
            rules.HostPort("u", "TCP", 8080, "10.42.0.2", 80),
            ("host-ports", "tcp . 8080"),
            id="any address",
        ),
        pytest.param(
            rules.HostPort("u", "UDP", 53, "10.42.0.2", 80, host_ip="192.0.2.1"),
            ("host-ip-ports", "192.0.2.1 . udp . 53"),
            id="one address",
        ),
    ],
)
def test_host_ports(port: rules.HostPort, element: rules.Element) -> None:
    assert rules.render_item(port, LAYOUT).elements[element] == "10.42.0.2 . 80"


def test_only_what_changed_is_in_the_transaction() -> None:
    others = [service(A, name=f"s{n}", cluster_ips=(f"10.43.1.{n}",)) for n in range(200)]
    state, _ = rules.restart(LAYOUT, [*others, service(A)], rules.Existing())
    changed = service(A, B)
    _, text = rules.diff(state, {changed.key: changed}, LAYOUT)
    assert text.splitlines() == [
        "flush chain ip edgeorch svc-default/web/tcp/http",
        "add rule ip edgeorch svc-default/web/tcp/http meta mark set meta mark | 0x4000",
        f"add rule ip edgeorch svc-default/web/tcp/http meta l4proto tcp dnat ip to {PICK}",
        "add element ip edgeorch hairpin { 10.42.0.3 . 10.42.0.3 }",
    ]


def test_nothing_changed_is_no_transaction() -> None:
    state, _ = rules.restart(LAYOUT, [service(A)], rules.Existing())
    assert rules.diff(state, {service(A).key: service(A)}, LAYOUT)[1] == ""


def test_an_address_claimed_twice_goes_to_the_next_when_the_first_leaves() -> None:
    one = service(A, name="one", external_ips=("198.51.100.7",), node_port=0)
    two = service(A, name="two", external_ips=("198.51.100.7",), node_port=0)
    state, text = rules.restart(LAYOUT, [two, one], rules.Existing())
    assert "198.51.100.7 . tcp . 80 : goto svc-default/one/tcp/http" in text
    _, text = rules.diff(state, {one.key: None}, LAYOUT)
    assert "198.51.100.7 . tcp . 80 : goto svc-default/two/tcp/http" in text


def test_a_stale_chain_is_emptied_now_and_deleted_later() -> None:
    state, _ = rules.restart(LAYOUT, [service(A)], rules.Existing())
    state, text = rules.diff(state, {service(A).key: None}, LAYOUT)
    assert "flush chain ip edgeorch svc-default/web/tcp/http" in text
    assert "delete chain" not in text
    state, text = rules.collect(state, LAYOUT)
    assert text == "delete chain ip edgeorch svc-default/web/tcp/http\n"
    assert rules.collect(state, LAYOUT)[1] == ""


class Kernel:
    """Just enough of nft to carry out our text, and to refuse what the kernel would."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.elements: dict[str, dict[str, str]] = {}

    def apply(self, text: str) -> None:
        for line in text.splitlines():
            verb, kind, _, _, name, rest = [*line.split(" ", 5), "", ""][:6]
            getattr(self, f"{verb}_{kind}")(name, rest)
        for rule in [rule for chain in self.chains.values() for rule in chain]:
            for target in re.findall(r"goto ((?:svc|ext|int|ep)-[^ ,]+)", rule):
                assert target in self.chains, f"{rule}: no chain {target}"
            for target in re.findall(r"@(aff-[^ ,]+)", rule):
                assert target in self.sets, f"{rule}: no set {target}"
        for held in self.elements.values():
            for value in held.values():
                target = value.removeprefix("goto ")
                assert not value.startswith("goto ") or target in self.chains, value

    def add_table(self, *_: str) -> None: ...

    def add_map(self, name: str, _: str) -> None:
        self.elements.setdefault(name, {})

    def add_set(self, name: str, definition: str) -> None:
        if name.startswith("aff-"):
            assert self.sets.setdefault(name, definition) == definition
        else:
            self.elements.setdefault(name, {})

    def flush_set(self, name: str, _: str) -> None:
        self.elements[name].clear()

    flush_map = flush_set

    def add_chain(self, name: str, _: str) -> None:
        self.chains.setdefault(name, [])

    def flush_chain(self, name: str, _: str) -> None:
        self.chains[name].clear()

    def add_rule(self, name: str, rule: str) -> None:
        self.chains[name].append(rule)

    def delete_chain(self, name: str, _: str) -> None:
        assert not self.chains.pop(name), "a chain that is in use was deleted"

    def delete_set(self, name: str, _: str) -> None:
        del self.sets[name]

    def add_element(self, name: str, listed: str) -> None:
        for entry in listed.strip("{} ").split(", "):
            key, _, value = entry.partition(" : ")
            assert key not in self.elements[name], f"{name} has {key} already"
            self.elements[name][key] = value

    def delete_element(self, name: str, listed: str) -> None:
        for key in listed.strip("{} ").split(", "):
            del self.elements[name][key]

    def existing(self) -> rules.Existing:
        return rules.Existing(
            frozenset(self.chains),
            frozenset(self.sets) | {"hairpin", "routed-interfaces"},
            frozenset(self.elements) - {"hairpin", "routed-interfaces"},
        )

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


endpoints = st.builds(
    rules.Endpoint,
    ip=st.sampled_from(["10.42.0.2", "10.42.0.3", "10.42.0.4", "192.0.2.9"]),
    port=st.sampled_from([80, 8080]),
    node_local=st.booleans(),
    ready=st.booleans(),
    terminating=st.booleans(),
)
services = st.builds(
    service,
    name=st.sampled_from(["a", "b", "c"]),
    protocol=st.sampled_from(["TCP", "UDP", "SCTP"]),
    node_port=st.sampled_from([0, 30080, 30081]),
    external_ips=st.sampled_from([(), ("198.51.100.7",)]),
    affinity_seconds=st.sampled_from([0, 0, 60, 90]),
    internal_local=st.booleans(),
    external_local=st.booleans(),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda e: (e.ip, e.port)).map(tuple),
)
host_ports = st.builds(
    rules.HostPort,
    uid=st.sampled_from(["u", "v"]),
    protocol=st.just("TCP"),
    host_port=st.sampled_from([8080, 8081]),
    pod_ip=st.sampled_from(["10.42.0.2", "10.42.0.3"]),
    pod_port=st.just(80),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove", "collect", "restart"]), services | host_ports
    ),
    max_size=25,
)


@given(steps)
def test_small_steps_lead_to_the_same_table_as_one_big_one(
    taken: list[tuple[str, rules.Item]],
) -> None:
    kernel, items = Kernel(), dict[rules.Key, rules.Item]()
    state, text = rules.restart(LAYOUT, [], rules.Existing())
    kernel.apply(text)
    for step, item in taken:
        match step:
            case "put":
                items[item.key] = item
                state, text = rules.diff(state, {item.key: item}, LAYOUT)
            case "remove":
                items.pop(item.key, None)
                state, text = rules.diff(state, {item.key: None}, LAYOUT)
            case "collect":
                state, text = rules.collect(state, LAYOUT)
            case _:
                state, text = rules.restart(LAYOUT, items.values(), kernel.existing())
        kernel.apply(text)
    state, text = rules.collect(state, LAYOUT)
    kernel.apply(text)
    fresh = Kernel()
    scratch, text = rules.restart(LAYOUT, items.values(), rules.Existing())
    fresh.apply(text)
    assert vars(fresh) == vars(kernel)
    assert scratch == state
